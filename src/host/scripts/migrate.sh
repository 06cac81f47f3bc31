# $1 working directory, $2 the folder with the commit's files, or nothing to only look, $3 the app's own command, $4 the job
# that it is for, $5 how much of its log is known, $6 how long it may take, in seconds. Once for each job: it runs on its own,
# by sh in that folder, and outlives whoever began it. `began` is there from when it begins and `end` from when it ended.
if [ -d "$1" ]; then enter "$1"; else echo 'migration none'; echo end; exit 0; fi
if [ -e .git ]; then open_git; else GIT=$PWD; fi
D=$GIT/airplanes-migration FOLDER=$2 COMMAND=$3 JOB=$4 FROM=$5 WITHIN=$6
# Its first process has a lock, which goes with the last of it; without flock one that began and has no end is taken to run.
is_running() {
  if command -v flock >/dev/null 2>&1; then [ -e "$D/lock" ] && ! flock -n "$D/lock" true; else [ -e "$D/began" ] && [ ! -e "$D/end" ]; fi
}
OF=$(cat "$D/job" 2>/dev/null) || OF=
# What one that has ended left behind keeps its lock.
if [ "$OF" != "$JOB" ] && [ ! -e "$D/end" ] && is_running; then refuse migrating "what its shell in $1" "said $OF"; fi
if [ -n "$FOLDER" ] && { [ "$OF" != "$JOB" ] || { [ ! -e "$D/began" ] && ! is_running; }; }; then
  if [ "$OF" != "$JOB" ]; then
    rm -rf "$D"
    mkdir -m 700 "$D" && printf '%s\n' "$JOB" >"$D/job" || unwritten "$D could not be written"
    sync -f "$D" 2>/dev/null || sync
    OF=$JOB
  fi
  unset GIT_CEILING_DIRECTORIES GIT_TERMINAL_PROMPT LC_ALL
  setsid sh -c 'exec 7>"$1/lock"
    ! command -v flock >/dev/null 2>&1 || flock -w 20 7 || exit
    mkdir "$1/began" || exit
    sync -f "$1" 2>/dev/null || sync
    LIMIT=; ! command -v timeout >/dev/null 2>&1 || LIMIT="timeout -k 30 $4"
    cd "$2" && $LIMIT sh -c "$3"
    echo "$?" >"$1/end.new" && sync "$1/end.new" && mv "$1/end.new" "$1/end"' airplanes "$D" "$FOLDER" "$COMMAND" "$WITHIN" </dev/null >>"$D/log" 2>&1 9>&- &
fi
[ "$OF" = "$JOB" ] || { echo 'migration none'; echo end; exit 0; }
# In this order: one that had begun and runs no more has written its end.
NOW=none
[ ! -e "$D/began" ] || NOW=lost
! is_running || NOW=running
SIZE=$(stat -c %s "$D/log" 2>/dev/null) || SIZE=0
if [ -e "$D/end" ]; then
  NOW=ended
  CODE=$(cat "$D/end")
  # timeout's own, unless the command ended so before its time.
  if [ "$CODE" = 124 ] && [ $(($(stat -c %Y "$D/end") - $(stat -c %Y "$D/began"))) -ge "$WITHIN" ]; then echo "how timeout exited $CODE"; else echo "how exit-code exited $CODE"; fi
  # What it said last may have neither an end nor a bound.
  { tail -c 4000 "$D/log" | tail -n 4; echo; } | prefixed word
fi
N=$((SIZE - FROM))
[ $N -ge 0 ] || N=0
[ $N -le 262144 ] || N=262144
[ $N = 0 ] || tail -c +$((FROM + 1)) "$D/log" | head -c $N >&2
printf 'migration %s\nat %s\nsize %s\n' "$NOW" $((FROM + N)) "$SIZE"
echo end
