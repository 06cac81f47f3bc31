# $1 working directory, $2 unit or nothing.
[ -z "$2" ] || unit "$2"
[ -d "$1" ] || { [ ! -e "$1" ] || echo 'exists file'; echo end; exit 0; }
enter "$1"
echo 'exists folder'
if is_releases; then
  echo 'releases yes'
  read_marker
  [ -z "$M" ] || printf 'marker %s\n' "$M"
  printf 'head %s\nsum %s\n' "$(head_here)" "$(sum_here)"
fi
[ -e .git ] || { echo end; exit 0; }
command -v git >/dev/null 2>&1 || refuse no-git
open_git
echo 'git yes'
read_marker
[ -z "$M" ] || printf 'marker %s\n' "$M"
BRANCH=$(g symbolic-ref -q --short HEAD) && printf 'branch %s\n' "$BRANCH"
HEAD=$(g rev-parse -q --verify 'HEAD^{commit}') && { printf 'head %s\n' "$HEAD"; changed | prefixed changed; }
echo end
