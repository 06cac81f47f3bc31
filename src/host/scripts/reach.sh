# $1 working directory, $2 url, $3 branch or nothing: whether the host itself can fetch the app. Changes nothing.
command -v git >/dev/null 2>&1 || refuse no-git
ORIGIN=$2
if [ -e "$1/.git" ]; then
  enter "$1"
  ORIGIN=$(g remote get-url origin 2>/dev/null) || ORIGIN=$2
fi
[ -n "${GIT_SSH_COMMAND:-}${GIT_SSH:-}" ] || g config core.sshCommand >/dev/null || export GIT_SSH_COMMAND='ssh -o BatchMode=yes -o ConnectTimeout=8'
# A login in a url is nobody's to see.
printf 'origin %s\n' "$(printf '%s' "$ORIGIN" | sed 's#//[^/@]*:[^/@]*@#//***@#')"
g -c http.lowSpeedLimit=1 -c http.lowSpeedTime=8 ls-remote -q --exit-code "$ORIGIN" "${3:+refs/heads/}${3:-HEAD}" >/dev/null || exit 1
echo 'reached yes'
echo end
