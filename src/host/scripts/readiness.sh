# $1 working directory, $2 unit or nothing, $3 health url or nothing: whether a rollout would get by. Changes nothing.
tell() { printf '%s %s\n' "$1" "$(printf '%s' "$2" | tr '\n' ' ')"; }
if [ -d "$1" ]; then
  echo 'exists folder'
  [ ! -w "$1" ] || [ ! -x "$1" ] || echo 'writable yes'
  [ -n "$(ls -A "$1" 2>/dev/null)" ] || echo 'empty yes'
  if [ -L "$1/current" ] && [ ! -e "$1/.git" ]; then
    enter "$1"
    echo 'releases yes'
    printf 'head %s\n' "$(head_here)"
  fi
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
# COMMAND, as sudo shows it: whether the last rule for it, of the long list, wants a password. Rules are patterns as
# `case` has them; one without arguments allows all.
asks() {
  sudo -n -l -l 2>/dev/null | {
    auth=yes on=no last=no
    while read -r line; do
      case $line in
        'Sudoers entry'*) auth=yes on=no ;;
        Options:*'!authenticate'*) auth=no ;;
        Commands:*) on=yes ;;
        *)
          [ "$on" = yes ] || continue
          case $line in
            ALL) last=$auth ;;
            *' '*) case $1 in $line) last=$auth ;; esac ;;
            *) case $1 in $line | $line' '*) last=$auth ;; esac ;;
          esac
          ;;
      esac
    done
    [ "$last" = yes ]
  }
}
# What `sudo -l COMMAND` allows may still ask for a password when it is run, if some other rule asks for none.
sudo_for() {
  [ "$(id -u)" != 0 ] || { echo 'sudo yes'; return; }
  command -v sudo >/dev/null 2>&1 || { tell sudo-said "there is no sudo, and $(id -un) is not root"; return; }
  SAID=$(sudo -n -l "$@" 2>&1) || { tell sudo-said "${SAID:-sudo does not let $(id -un) run $*}"; return; }
  if ! sudo -n -v 2>/dev/null && asks "$SAID"; then
    echo 'sudo-said it is allowed, but its rule has no NOPASSWD'
    return
  fi
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
