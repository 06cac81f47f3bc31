# $1 working directory, $2 url, $3 branch, $4 sha, $5 a bundle that was sent, or nothing to ask the origin, or - where the
# commit has to be here, or = or + with a bundle in base64: with + the origin is asked where that one does not do. The clone,
# made if need be, has the commit afterwards; its tree is as it was.
WD=$1 URL=$2 BRANCH=$3 SHA=$4 BUNDLE=$5 ALONG=; shift 5
case $BUNDLE in
  "" | -) ;;
  [=+]*) ALONG=$BUNDLE BUNDLE= ;;
  *) trap 'rm -f "$BUNDLE"' EXIT ;;
esac
command -v git >/dev/null 2>&1 || refuse no-git
[ -d "$WD" ] || [ ! -e "$WD" ] || refuse not-git "said it is a file"
[ ! -L "$WD/current" ] || [ -e "$WD/.git" ] || refuse not-git "said it holds the releases of an :artifact"
[ -e "$WD" ] || { say "making $WD"; mkdir -p "$WD" || exit 1; }
enter "$WD"
if [ ! -e .git ]; then
  [ -z "$(ls -A)" ] || refuse not-git "said it holds files and no .git"
fi
if [ ! -e .git ] || { [ -d .git ] && [ ! -e .git/HEAD ]; }; then # the second is an init that was killed
  g init -q . && g symbolic-ref HEAD "refs/heads/$BRANCH" || exit 1
fi
open_git
exec 9>"$GIT/airplanes.lock"
! command -v flock >/dev/null 2>&1 || flock -w 20 9 || refuse busy "said another run of airplanes"

# Lock files of a git that was killed, swept only where none is at work: git never takes them away itself.
git_here() {
  for p in /proc/[0-9]*; do
    IFS= read -r name <"$p/comm" || continue
    case $name in git | git-*) ;; *) continue ;; esac
    read -r _ _ state _ <"$p/stat" || continue
    [ "$state" != Z ] || continue
    at=$(readlink "$p/cwd") || at=$PWD # another user's: it may be here
    case $at/ in "$PWD"/*) echo "${p#/proc/}"; return ;; esac
  done 2>/dev/null
}
n=0
for f in index HEAD config packed-refs shallow "refs/heads/$BRANCH" "refs/remotes/origin/$BRANCH"; do
  while [ -e "$GIT/$f.lock" ] && [ -n "$(git_here)" ]; do
    n=$((n + 1)); [ "$n" -lt 40 ] || refuse busy "said git, process $(git_here)"
    sleep 0.5
  done
  [ ! -e "$GIT/$f.lock" ] || { say "removing $f.lock, which a killed git left"; rm -f "$GIT/$f.lock"; }
done

HEAD=$(g rev-parse -q --verify 'HEAD^{commit}') || HEAD=
WAS=$HEAD MOVED=no
read_marker
ORIGIN=$(g remote get-url origin 2>/dev/null) || { ORIGIN=$URL; g remote add origin "$URL" || exit 1; }

# Whether a commit is here with all it needs: a killed fetch leaves parts.
have() { g rev-list --quiet --objects "$1" --not --all 2>/dev/null; }
HERE=no
! have "$SHA" || HERE=yes
[ "$HERE" = yes ] || [ "$BUNDLE" != - ] || refuse no-commit "origin $WD"
if [ "$HERE" = no ] && [ -n "$ALONG" ]; then
  BUNDLE=$GIT/airplanes.bundle
  trap 'rm -f "$BUNDLE"' EXIT
  if ! printf %s "${ALONG#?}" | base64 -d >"$BUNDLE"; then
    case $ALONG in +*) rm -f "$BUNDLE"; BUNDLE= ;; *) unwritten "$BUNDLE could not be written" ;; esac
  fi
fi
if [ "$HERE" = no ] && [ -n "$BUNDLE" ]; then
  say "taking in $BRANCH as it was sent"
  if SAID=$(g fetch --no-progress "$BUNDLE" "+refs/heads/$BRANCH:refs/remotes/origin/$BRANCH" 2>&1); then
    [ -z "$SAID" ] || say "$SAID"
    # Which has looked for all that it needs.
    HERE=yes
  else
    say "$SAID"
    case $ALONG in +*) ;; *) refuse fetch "origin $BUNDLE" ;; esac
  fi
fi
if [ "$HERE" = no ]; then
  say "fetching $BRANCH from $ORIGIN"
  fetch "+refs/heads/$BRANCH:refs/remotes/origin/$BRANCH" || refuse fetch "origin $ORIGIN"
  have "$SHA" || fetch "$SHA" || :
  have "$SHA" || refuse no-commit "origin $ORIGIN"
fi

