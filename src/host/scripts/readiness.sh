# $1 working directory, $2 unit or nothing, $3 health url or nothing: whether a rollout would get by. Changes nothing.
tell() { printf '%s %s\n' "$1" "$(printf '%s' "$2" | tr '\n' ' ')"; }
if [ -d "$1" ]; then
  echo 'exists folder'
  [ ! -w "$1" ] || [ ! -x "$1" ] || echo 'writable yes'
  [ -n "$(ls -A "$1" 2>/dev/null)" ] || echo 'empty yes'
  if [ -e "$1/.git" ] && command -v git >/dev/null 2>&1; then
    enter "$1"
    if GIT=$(g rev-parse --absolute-git-dir 2>&1); then
      echo 'git yes'
      [ -w "$GIT" ] && [ -w "$GIT/objects" ] || echo 'readonly yes'
      HEAD=$(g rev-parse -q --verify 'HEAD^{commit}') && { printf 'head %s\n' "$HEAD"; changed | prefixed changed; }
    else
      tell said "$GIT"
    fi
  fi
elif [ -e "$1" ]; then
  echo 'exists file'
else
  P=$1; while [ ! -e "$P" ]; do P=$(dirname "$P"); done
  printf 'parent %s\n' "$P"
  [ ! -w "$P" ] || [ ! -x "$P" ] || echo 'writable yes'
fi
# What `sudo -l COMMAND` allows may still ask for a password when it is run: the rule itself says whether it will.
sudo_for() {
  [ "$(id -u)" != 0 ] || { echo 'sudo yes'; return; }
  command -v sudo >/dev/null 2>&1 || { tell sudo-said "there is no sudo, and $(id -un) is not root"; return; }
  SAID=$(sudo -n -l "$@" 2>&1) || { tell sudo-said "${SAID:-sudo does not let $(id -un) run $*}"; return; }
  RULE=$(sudo -n -l -l "$@" 2>/dev/null) || RULE=
  case $RULE in
    *'!authenticate'*) ;;
    *Commands:*) SAID=$(sudo -n -v 2>&1) || { tell sudo-said "allowed, but not without a password: $SAID"; return; } ;;
  esac
  echo 'sudo yes'
}
if [ -n "$2" ]; then
  if command -v systemctl >/dev/null 2>&1; then
    unit "$2"
    sudo_for systemctl restart "$2"
  else
    echo 'systemd no'
  fi
fi
if [ -n "$3" ]; then
  for tool in curl wget bash; do
    ! command -v "$tool" >/dev/null 2>&1 || { printf 'asks %s\n' "$tool"; break; }
  done
fi
echo end
