# The shell of a conversation: the token $1, the script $2 that it opens with, and that one's arguments. A call is a line with
# its number and its length in bytes, and then itself: it counts only if it is there to its last word. A line with the token
# and the number on both streams says that a call has ended, and how: its exit code, 98 if it was ended, 97 if it would not
# go. The opening is number 0. The forms are those that both dash and bash take. A call comes by the environment: what it has
# with it, like commits, is for nobody else to read, as a command line is.
#
# An opening finds `born PID`, which puts the time when a process was started into $BORN, and may define `bye`, which runs at
# the end. Descriptor 8 is its own. To leave the shell is to end the conversation.
exec 3<&0 </dev/null
T=$1 OPENING=$2 N=0 A= AT=; shift 2
mark() { printf '\n%s.%s %s\n' "$T" "$N" "$1" >&2; printf '\n%s.%s %s\n' "$T" "$N" "$1"; }
born() { BORN=; read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ BORN _ <"/proc/$1/stat"; }
bye() { :; }
trap 'mark $?' EXIT
command -v setsid >/dev/null && command -v head >/dev/null || { echo 'there is no setsid or no head here' >&2; exit 127; }
eval "$OPENING"
trap - EXIT
mark 0
set +u
end() {
  trap '' TERM
  P=$!
  [ "$P" != "$BEFORE" ] || exit
  (
    until kill -0 "-$P" || ! kill -0 "$P"; do sleep 0.1; done
    n=0
    while kill -0 "-$P"; do
      if [ "$n" -lt 50 ]; then kill -TERM "-$P"; elif [ "$n" -lt 100 ]; then kill -KILL "-$P"; else exit 1; fi
      n=$((n + 1)); sleep 0.1
    done
    exit 0
  ) >/dev/null 2>&1 & W=$!
  wait "$P" 2>/dev/null
  wait "$W"
  case $? in 0) mark 98 ;; *) mark 97 ;; esac
  exit
}
while read -r I L <&3; do
  N=$I CALL=$(head -c "$L" <&3)
  case $CALL in *"#$T") ;; *) break ;; esac
  (
    BEFORE=$!
    trap end TERM
    AIRPLANES_CALL=$CALL setsid sh -c 'CALL=$AIRPLANES_CALL; unset AIRPLANES_CALL; eval "$CALL"' airplanes 3<&- 8<&- &
    wait "$!" 2>/dev/null
    mark "$?"
  ) 3<&- & A=$!
  born "$A" 2>/dev/null; AT=$BORN
done
if [ -n "$A" ] && born "$A" && [ "$BORN" = "$AT" ]; then kill -TERM "$A"; wait "$A"; fi 2>/dev/null
bye
exec 8<&-
mark 98
