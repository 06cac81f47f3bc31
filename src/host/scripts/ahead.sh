# $1 working directory, $2 branch, $3 sha: a clone that is there fetches what is to come from its own origin, if it lacks it.
# Its files stay as they are, and what is in the way of a fetch is left to the turn.
[ -e "$1/.git" ] && command -v git >/dev/null 2>&1 || { echo end; exit 0; }
enter "$1"
open_git
exec 9>"$GIT/airplanes.lock"
{ ! command -v flock >/dev/null 2>&1 || flock -n 9; } && ! g cat-file -e "$3^{commit}" 2>/dev/null || { echo end; exit 0; }
fetch "+refs/heads/$2:refs/remotes/origin/$2" || exit 1
echo end
