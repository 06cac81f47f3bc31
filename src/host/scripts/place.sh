# $1 working directory, $2 sha, $3 the name of the file in it, $4 where that was sent to, $5 how many releases are kept,
# then shas that are kept whatever their age. Puts releases/SHA in force by one rename: killed anywhere, a second run
# ends it. The marker stands beside `current`.
WD=$1 SHA=$2 NAME=$3 SENT=$4 KEEP=$5; shift 5
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

WAS=$(release) || WAS=
MOVED=no
read_marker
if [ ! -f "releases/$SHA/$NAME" ]; then
  [ -f "$SENT" ] || refuse no-release "said releases/$SHA is not there any more"
  say "taking in $NAME as releases/$SHA"
  rm -rf "releases/.$SHA" && mkdir "releases/.$SHA" && cp "$SENT" "releases/.$SHA/$NAME" || exit 1
  settle
  rm -rf "releases/$SHA" && mv -T "releases/.$SHA" "releases/$SHA" || exit 1
fi
[ -z "$SENT" ] || rm -f "$SENT"
[ -z "$WAS" ] || printf 'from %s\n' "$WAS"
if [ "$WAS" != "$SHA" ] || [ "$M_SHA" != "$SHA" ]; then
  write_marker "{\"sha\":\"$SHA\",\"state\":\"moving\"${WAS:+,\"from\":\"$WAS\"}}"
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
echo "moved $MOVED"
echo end
