# $1 working directory, $2 unit, $3 and $4 the ports of its two instances: to which of them nginx sends requests, how each
# is and what it was started for, and who still speaks to it. Changes nothing.
command -v systemctl >/dev/null 2>&1 || refuse no-systemd
S=/etc/nginx/conf.d/airplanes-$2.conf V=/etc/nginx/airplanes/$2.server PLAIN=
PORT=$(sed -n 's/^server .*:\([0-9]*\);$/\1/p' "$V" 2>/dev/null)
if systemctl -q is-active "$2.service"; then
  # By the site that it had before there were instances nginx does not follow that file.
  PLAIN=$(sed -n 's/^[[:space:]]*server 127\.0\.0\.1:\([0-9]*\);$/\1/p' "$S" 2>/dev/null | sed -n 1p)
  [ -z "$PLAIN" ] || grep -qF "$V;" "$S" || PORT=
  printf 'plain %s\n' "${PLAIN:-$PORT}"
fi
[ -z "$PORT" ] || printf 'serving %s\n' "$PORT"
[ ! -e "/run/airplanes-host.switch.$2" ] || echo 'cut-off yes'
GIT=
if [ -d "$1" ]; then
  enter "$1"
  is_releases || [ ! -e .git ] || open_git
  [ -z "$GIT" ] || read_marker
fi
# The two, and what is left of others that it had before.
ALL=$({
  systemctl list-units --all --plain --no-legend "$2@*.service" 2>/dev/null
  ls -d /etc/systemd/system/*.wants/"$2"@*.service 2>/dev/null
} | sed -n 's/^[^ ]*@\([1-9][0-9]\{0,4\}\)\.service\( .*\)\{0,1\}$/\1/p' | sort -u)
for port in "$3" "$4" ${PORT:+"$PORT"} $ALL; do
  case " ${SEEN:=} " in *" $port "*) continue ;; esac
  SEEN="$SEEN $port"
  printf 'port %s\n' "$port"
  for file in /etc/systemd/system/*.wants/"$2@$port.service"; do [ ! -L "$file" ] || { printf 'enabled-%s yes\n' "$port"; break; }; done
  systemctl show -p LoadState,ActiveState,SubState,NRestarts,InvocationID,MainPID "$2@$port.service" 2>/dev/null | prefixed "unit-$port"
  # What was started for a commit whose file is another by now does not run it.
  if [ -n "$GIT" ] && [ -e "$GIT/airplanes.$port" ]; then
    NOTE=$(cat "$GIT/airplanes.$port")
    SUM=$(sum_here | cut -c 1-12)
    case $NOTE in *" $M_SHA ${SUM:--}"*) ;; *" $M_SHA "*) NOTE= ;; esac
    [ -z "$NOTE" ] || printf 'started-%s %s\n' "$port" "${NOTE% *}"
  fi
  # In the kernel's tables: local address and state, 01 for a connection that stands.
  AT=$(printf ':%04X' "$port")
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v at="$AT" -v port="$port" \
    '$4 == "01" && substr($2, length($2) - 4) == at { n++ } END { print "connections-" port, n + 0 }'
done
# nginx's workers from before it read its files anew, which end with their last connection.
OLD=0 MASTER=$(systemctl show -p MainPID --value nginx.service 2>/dev/null)
for file in $(grep -ls '^nginx: worker process is shutting down' /proc/[0-9]*/cmdline 2>/dev/null); do
  [ "$(sed -n 's/^PPid:[[:space:]]*//p' "${file%/cmdline}/status" 2>/dev/null)" != "$MASTER" ] || OLD=$((OLD + 1))
done
printf 'old-workers %s\n' "$OLD"
echo end
