# $1 working directory, $2 sha, $3 the release's name, $4 the name of the file in it, $5 where that was sent to, $6 how many
# releases are kept, $7 the file's sha256, or how it begins, or nothing, $8 `stage` to only take it in, then names of releases
# that are kept whatever their age. Puts the release in force by one rename: killed anywhere, a second run ends it. The marker
# stands beside `current`.
WD=$1 SHA=$2 R=$3 NAME=$4 SENT=$5 KEEP=$6 SUM=$7 MODE=$8; shift 8
[ -d "$WD" ] || [ ! -e "$WD" ] || refuse not-releases "said it is a file"
mkdir -p "$WD" || exit 1
enter "$WD"
[ ! -e .git ] || refuse not-releases "said it is a clone"
[ -L current ] || [ ! -e current ] || refuse not-releases "said \`current\` in it is no link"
# What somebody else keeps here is theirs: the oldest of ours go by themselves.
OURS='[0-9a-f]{40}(-[0-9a-f]{12})?'
T=$(readlink current 2>/dev/null) || T=
[ -z "$T" ] || printf '%s' "${T#releases/}" | grep -Eqx "$OURS" || refuse not-releases "said \`current\` in it leads to $T, which is no release of ours"
F=$(ls releases 2>/dev/null | grep -Evx "$OURS" | head -n 1) || :
[ -z "$F" ] || refuse not-releases "said releases in it holds $F, which is none of ours"
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
  case $(sha256sum <"$1") in "$SUM"*) ;; *) return 1 ;; esac
}

WAS=$(release) || WAS=
NEW=
read_marker
# What a run that was killed was taking in.
rm -rf releases/.[0-9a-f]*
if whole "releases/$R/$NAME"; then :
elif whole "releases/$SHA/$NAME"; then R=$SHA # from before the sum was in its name
else
  [ -f "$SENT" ] || refuse no-release "said $NAME of $SHA is not there"
  say "taking in $NAME as releases/$R"
  NEW=releases/.$R
  mkdir "$NEW" && mv -f "$SENT" "$NEW/$NAME" && chmod 755 "$NEW/$NAME" || { rm -rf "$NEW"; exit 1; }
  whole "$NEW/$NAME" || { rm -rf "$NEW"; refuse no-release "said $NAME of $SHA did not come as it was built"; }
  settle
fi
[ -z "$SENT" ] || rm -f "$SENT"
take_in() {
  [ -n "$NEW" ] || return 0
  # One that is there has lost its file, or what that held.
  if [ -d "releases/$R" ]; then mv -f "$NEW/$NAME" "releases/$R/$NAME" && rmdir "$NEW"; else mv -T "$NEW" "releases/$R"; fi
}
if [ "$MODE" = stage ]; then
  take_in || exit 1
  printf 'at %s\n' "$PWD/releases/$R"
  echo end
  exit 0
fi
[ -z "$WAS" ] || printf 'from %s\n' "${WAS%%-*}"
MOVED=no
[ -z "$NEW" ] && [ "$WAS" = "$R" ] || MOVED=yes
if [ $MOVED = yes ] || [ "$M_SHA" != "$SHA" ] || [ "${SUM:-$M_SUM}" != "$M_SUM" ]; then
  write_marker "{\"sha\":\"$SHA\",\"state\":\"moving\"${WAS:+,\"from\":\"${WAS%%-*}\"}${SUM:+,\"sum\":\"$SUM\"}}"
fi
take_in || exit 1
if [ "$WAS" != "$R" ]; then
  say "moving from ${WAS:-nothing} to $R"
  ln -sfn "releases/$R" .current && mv -T .current current || exit 1
fi
touch "releases/$R"
settle
# The oldest go; what is in force and what it can go back to stay.
n=0
for r in $(ls -t releases); do
  case " $R $WAS $* " in *" $r "*) continue ;; esac
  n=$((n + 1))
  [ "$n" -lt "$KEEP" ] || { say "removing releases/$r"; rm -rf "releases/$r"; }
done
# And files that were sent and that nobody came back for.
[ -z "$SENT" ] || find "${SENT%/*}" -name '*.artifact*' -type f -mtime +1 -exec rm -f {} + 2>/dev/null || :
echo "moved $MOVED"
echo end
