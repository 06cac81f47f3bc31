# $1 the program airplanes-host. What this host is and has. Changes nothing.
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
# NAME COMMAND...: the first line that it says.
tool() {
  name=$1; shift
  command -v "$1" >/dev/null 2>&1 || { printf 'tool %s\n' "$name"; return; }
  printf 'tool %s %s\n' "$name" "$("$@" 2>&1 </dev/null | sed -n 1p)"
}
[ ! -r /etc/os-release ] || (. /etc/os-release && printf 'system %s\n' "$PRETTY_NAME")
printf 'kernel %s\n' "$(uname -r)"
printf 'user %s\n' "$(id -un)"
printf 'up %s\n' "$(cut -d. -f1 /proc/uptime)"
tool systemd systemctl --version
tool git git --version
tool java java -version
tool clojure clojure --version
tool psql psql --version
tool nginx nginx -v
tool certbot certbot --version
if [ ! -e /usr/local/sbin/airplanes-host ]; then echo 'program absent'
elif [ "$(cat /usr/local/sbin/airplanes-host 2>/dev/null)" = "$1" ]; then echo 'program same'
else echo 'program differs'; fi
awk '/^MemTotal:/ { t = $2 } /^MemAvailable:/ { a = $2 } END { print "memory", t * 1024, a * 1024 }' /proc/meminfo
for place in / /srv /var; do
  df -Pk "$place" 2>/dev/null | awk 'NR == 2 { print "disk", $2 * 1024, $4 * 1024, $6 }'
done | sort -u
echo end
