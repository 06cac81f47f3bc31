# $1 working directory, $2 url, $3 branch, $4 sha, $5 a bundle that was sent or nothing, then shas that we put there before.
# Checks everything, then writes the marker, then moves the tree: killed anywhere, a second run ends it.
WD=$1 URL=$2 BRANCH=$3 SHA=$4 BUNDLE=$5; shift 5
[ -z "$BUNDLE" ] || trap 'rm -f "$BUNDLE"' EXIT
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
have() { g cat-file -e "$1^{commit}" 2>/dev/null && g rev-list --quiet --objects "$1" --not --all 2>/dev/null; }
fetch() {
  [ -n "${GIT_SSH_COMMAND:-}${GIT_SSH:-}" ] || g config core.sshCommand >/dev/null || export GIT_SSH_COMMAND='ssh -o BatchMode=yes'
  g -c http.lowSpeedLimit=1000 -c http.lowSpeedTime=60 fetch --no-progress origin "$1" >&2
}
if [ -n "$BUNDLE" ] && ! have "$SHA"; then
  say "taking in $BRANCH as it was sent"
  g fetch --no-progress "$BUNDLE" "+refs/heads/$BRANCH:refs/remotes/origin/$BRANCH" >&2 || refuse fetch "origin $BUNDLE"
  have "$SHA" || refuse no-commit "origin $BUNDLE"
fi
if ! have "$SHA"; then
  say "fetching $BRANCH from $ORIGIN"
  fetch "+refs/heads/$BRANCH:refs/remotes/origin/$BRANCH" || refuse fetch "origin $ORIGIN"
  have "$SHA" || fetch "$SHA" || :
  have "$SHA" || refuse no-commit "origin $ORIGIN"
fi

# Whether a file is what an interrupted checkout of ours left: gone, or the beginning of what a commit has there; and
# in the index as a commit has it.
mine() {
  case $1 in \"*) return 1 ;; esac # git quotes such a name, so it can't be looked at
  if blob=$(g rev-parse -q --verify ":0:$1"); then
    known=no
    for c in "$M_SHA" ${HEAD:+"$HEAD"} ${M_FROM:+"$M_FROM"}; do
      [ "$blob" != "$(g rev-parse -q --verify "$c:$1")" ] || known=yes
    done
    [ "$known" = yes ] || return 1
  fi
  [ -e "$1" ] || [ -L "$1" ] || return 0
  for c in "$M_SHA" ${HEAD:+"$HEAD"} ${M_FROM:+"$M_FROM"}; do
    if [ -L "$1" ]; then
      [ "$(readlink "$1")" != "$(g cat-file blob "$c:$1" 2>/dev/null)" ] || return 0
    elif [ -f "$1" ]; then
      g cat-file --filters "$c:$1" 2>/dev/null | head -c "$(wc -c <"$1")" | cmp -s - "$1" && return 0
    fi
  done
  return 1
}
# SHA: the files that it adds to HEAD, or brings if there is none.
added() {
  if [ -n "$HEAD" ]; then g diff --name-only --no-renames --diff-filter=A "$HEAD" "$1"; else g ls-tree -r --name-only "$1"; fi
}
# Those of the names read that are files here.
present() { while IFS= read -r f; do { [ ! -f "$f" ] && [ ! -L "$f" ]; } || printf '%s\n' "$f"; done; }
# So that a person's `git pull` there works in a clone that we made.
upstream() { [ -n "$WAS" ] || g branch -q --set-upstream-to="origin/$BRANCH" >&2 || :; }
tracked() { [ -z "$HEAD" ] || changed; }

if [ "$M_STATE" = moving ] && have "$M_SHA" && { [ "$HEAD" = "$M_FROM" ] || [ "$HEAD" = "$M_SHA" ]; }; then
  LEFT=$({ tracked; added "$M_SHA" | present; } | sort -u)
  if [ -n "$LEFT" ] || [ "$HEAD" != "$M_SHA" ]; then
    OTHERS=$(printf '%s\n' "$LEFT" | while IFS= read -r f; do [ -z "$f" ] || mine "$f" || printf '%s\n' "$f"; done)
    [ -z "$OTHERS" ] || refuse changed "$(printf '%s\n' "$OTHERS" | prefixed file)"
    TO=$M_SHA
    if [ "$SHA" = "$M_FROM" ]; then
      # Wanted where it came from: what a full disk did not let end is undone, which needs no more room.
      TO=$SHA
      say "undoing the move to $M_SHA that was interrupted"
      [ "$HEAD" != "$SHA" ] || added "$M_SHA" | present | while IFS= read -r f; do rm -f "$f"; done
    else
      say "ending the move to $M_SHA that was interrupted"
    fi
    SAID=$(g reset -q --hard "$TO" 2>&1) || unwritten "$SAID"
    upstream
    HEAD=$TO MOVED=yes
  fi
fi

LEFT=$(tracked)
[ -z "$LEFT" ] || refuse changed "$(printf '%s\n' "$LEFT" | prefixed file)"
if [ -n "$HEAD" ] && [ "$HEAD" != "$SHA" ]; then
  OURS=no
  for s in "$M_SHA" "$@"; do [ "$s" != "$HEAD" ] || OURS=yes; done
  [ "$OURS" = yes ] || g merge-base --is-ancestor "$HEAD" "$SHA" ||
    refuse diverged "head $HEAD" "about $(g log -1 --format='%an, %ad: %s' --date=short "$HEAD")"
fi
if [ "$HEAD" != "$SHA" ]; then
  LEFT=$(added "$SHA" | present)
  [ -z "$LEFT" ] || refuse in-the-way "$(printf '%s\n' "$LEFT" | prefixed file)"
fi

if [ -n "$WAS" ]; then printf 'from %s\n' "$WAS"; fi
# What is started from here on reads what a power cut leaves.
settle() { sync -f . 2>/dev/null || sync; }
if [ "$HEAD" = "$SHA" ] && [ "$M_SHA" = "$SHA" ]; then
  [ "$M_STATE" = live ] || settle
  echo "moved $MOVED"; echo end; exit 0
fi
write_marker "{\"sha\":\"$SHA\",\"state\":\"moving\"${HEAD:+,\"from\":\"$HEAD\"}}"
if [ -z "$HEAD" ]; then
  say "checking out $SHA"
  SAID=$(g reset -q --hard "$SHA" 2>&1) || unwritten "$SAID"
  upstream
elif [ "$HEAD" != "$SHA" ]; then
  say "moving from $HEAD to $SHA"
  SAID=$(g reset -q --keep "$SHA" 2>&1) || unwritten "$SAID"
fi
[ "$(g rev-parse HEAD)" = "$SHA" ] || { say "HEAD is not $SHA afterwards"; exit 1; }
[ "$HEAD" = "$SHA" ] || MOVED=yes
settle
echo "moved $MOVED"
echo end
