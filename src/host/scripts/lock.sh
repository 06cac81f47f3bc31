# $1 working directory, $2 which daemon or person, $3 who, when and why, as JSON of one line. Holds the folder's lock until
# it is ended, as it is when our connection is gone; the kernel frees it then. A lock of the same daemon is an older
# connection's, and is taken over.
[ -d "$1" ] || { echo 'absent yes'; echo end; exit 0; }
command -v flock >/dev/null 2>&1 || { say "there is no flock here, so nothing is locked"; echo 'absent yes'; echo end; exit 0; }
enter "$1"
# A folder that is to become a clone has to stay empty.
NOTE=/dev/null
if [ -d .git ]; then NOTE=.git/airplanes.holder; elif [ -L current ]; then NOTE=airplanes.holder; fi
# The folder itself, so that no file of a lock is ever left.
exec 8<.
if ! flock -n 8; then
  H=; [ ! -f "$NOTE" ] || IFS= read -r H <"$NOTE" || :
  P=$(printf '%s' "$H" | sed -n 's/^\([0-9]*\) .*/\1/p') OF=$(printf '%s' "$H" | sed -n 's/^[0-9]* \([^ ]*\) .*/\1/p')
  if [ "$OF" = "$2" ] && [ -n "$P" ]; then
    say "ending an older connection of ours"
    kill -TERM "-$P" 2>/dev/null || :
    flock -w 10 8 || refuse locked "said an older connection of ours, process $P, that does not end"
  else
    flock -w 2 8 || refuse locked "said $(printf '%s' "${H:-somebody who does not say who}" | sed 's/^[0-9]* [^ ]* //')"
  fi
fi
if [ "$NOTE" != /dev/null ]; then
  trap 'rm -f "$NOTE"; exit 0' TERM
  printf '%s %s %s\n' "$$" "$2" "$3" >"$NOTE.new" && mv -f "$NOTE.new" "$NOTE" || say "who holds the lock could not be noted"
fi
say 'the lock is ours'
while :; do sleep 3600 8<&-; done
