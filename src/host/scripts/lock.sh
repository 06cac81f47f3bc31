# $1 working directory, $2 which daemon or person, $3 who, when and why, as JSON of one line. What a conversation opens with:
# its shell holds the folder's lock until it ends, and the kernel frees it with that shell, however it ends. A lock of the
# same daemon is an older conversation's, and is taken over.
LOCKED=no NOTE=/dev/null
if [ ! -d "$1" ]; then
  echo 'absent yes'
elif ! command -v flock >/dev/null 2>&1; then
  say "there is no flock here, so nothing is locked"
  echo 'absent yes'
else
  enter "$1"
  # A folder that is to become a clone has to stay empty.
  if [ -d .git ]; then NOTE=$PWD/.git/airplanes.holder; elif [ -L current ]; then NOTE=$PWD/airplanes.holder; fi
  # The folder itself, so that no file of a lock is ever left.
  exec 8<.
  if ! flock -n 8; then
    H_PID= H_BORN= H_ID= H_WHO=
    [ ! -f "$NOTE" ] || read -r H_PID H_BORN H_ID H_WHO <"$NOTE" || :
    # A note that outlived its shell says nothing about who holds it now; its number may be anybody's.
    { [ -n "$H_PID" ] && born "$H_PID" 2>/dev/null && [ "$BORN" = "$H_BORN" ]; } || H_PID= H_WHO=
    if [ -n "$H_PID" ] && [ "$H_ID" = "$2" ]; then
      say "ending an older connection of ours"
      # What it is at first, which ends its own processes.
      for p in $(cat "/proc/$H_PID/task/$H_PID/children" 2>/dev/null) "$H_PID"; do kill -TERM "$p" 2>/dev/null || :; done
      flock -w 15 8 || refuse locked "said an older connection of ours, process $H_PID, that does not end"
    else
      flock -w 2 8 || refuse locked "said ${H_WHO:-somebody who does not say who}"
    fi
  fi
  if [ "$NOTE" != /dev/null ]; then
    born "$$"
    printf '%s %s %s %s\n' "$$" "$BORN" "$2" "$3" >"$NOTE.new" && mv -f "$NOTE.new" "$NOTE" || say "who holds the lock could not be noted"
    bye() { rm -f "$NOTE"; }
  fi
fi
echo end
