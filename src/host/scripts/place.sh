# $1 working directory, $2 sha, $3 the name of the file in it, $4 where that was sent to, $5 how many releases are kept,
# $6 the file's sha256 or nothing, $7 `stage` to only take it in, then shas that are kept whatever their age. Puts releases/SHA in force by one rename:
# killed anywhere, a second run ends it. The marker stands beside `current`.
WD=$1 SHA=$2 NAME=$3 SENT=$4 KEEP=$5 SUM=$6 MODE=$7; shift 7
[ -d "$WD" ] || [ ! -e "$WD" ] || refuse not-releases "said it is a file"
mkdir -p "$WD" || exit 1
enter "$WD"
[ ! -e .git ] || refuse not-releases "said it is a clone"
[ -L current ] || [ ! -e current ] || refuse not-releases "said \`current\` in it is no link"
mkdir -p releases || exit 1
GIT=$PWD
exec 9>"$GIT/airplanes.lock"
! command -v flock >/dev/null 2>&1 || flock -w 20 9 || refuse busy "said another run of airplanes"
settle() { sync -f . 2>/dev/null || sync; }
# FILE: whether it is what the build made.
whole() {
  [ -f "$1" ] || return 1
  [ -n "$SUM" ] || return 0
  command -v sha256sum >/dev/null 2>&1 || refuse no-sum
  [ "$(sha256sum <"$1" | cut -d ' ' -f 1)" = "$SUM" ]
}

WAS=$(release) || WAS=
MOVED=no NEW=
read_marker
# What a run that was killed was taking in.
rm -rf releases/.[0-9a-f]*
if ! whole "releases/$SHA/$NAME"; then
  [ -f "$SENT" ] || refuse no-release "said $NAME of $SHA is not there"
  say "taking in $NAME as releases/$SHA"
  NEW=releases/.$SHA
  mkdir "$NEW" && mv -f "$SENT" "$NEW/$NAME" && chmod 755 "$NEW/$NAME" || { rm -rf "$NEW"; exit 1; }
  whole "$NEW/$NAME" || { rm -rf "$NEW"; refuse no-release "said $NAME of $SHA did not come as it was built"; }
  settle
fi
[ -z "$SENT" ] || rm -f "$SENT"
if [ "$MODE" = stage ]; then
  # A file of another build that is there already may be in force: it stays until its turn.
  [ -z "$NEW" ] || { [ ! -d "releases/$SHA" ] && mv -T "$NEW" "releases/$SHA"; } || rm -rf "$NEW"
  printf 'at %s\n' "$PWD/releases/$SHA"
  echo end
  exit 0
fi
[ -z "$WAS" ] || printf 'from %s\n' "$WAS"
if [ -n "$NEW" ] || [ "$WAS" != "$SHA" ] || [ "$M_SHA" != "$SHA" ] || [ "${SUM:-$M_SUM}" != "$M_SUM" ]; then
  write_marker "{\"sha\":\"$SHA\",\"state\":\"moving\"${WAS:+,\"from\":\"$WAS\"}${SUM:+,\"sum\":\"$SUM\"}}"
fi
if [ -n "$NEW" ]; then
  if [ -d "releases/$SHA" ]; then
    mv -f "$NEW/$NAME" "releases/$SHA/$NAME" && rmdir "$NEW" || exit 1
    MOVED=yes
  else
    mv -T "$NEW" "releases/$SHA" || exit 1
  fi
fi
if [ "$WAS" != "$SHA" ]; then
  say "moving from ${WAS:-nothing} to $SHA"
  ln -sfn "releases/$SHA" .current && mv -T .current current || exit 1
  MOVED=yes
fi
touch "releases/$SHA"
settle
# The oldest go; what is in force and what it can go back to stay.
n=0
for r in $(ls -t releases); do
  case " $SHA $WAS $* " in *" $r "*) continue ;; esac
  n=$((n + 1))
  [ "$n" -lt "$KEEP" ] || { say "removing releases/$r"; rm -rf "releases/$r"; }
done
# And files that were sent and that nobody came back for.
[ -z "$SENT" ] || find "${SENT%/*}" -name '*.artifact*' -type f -mtime +1 -exec rm -f {} + 2>/dev/null || :
echo "moved $MOVED"
echo end
