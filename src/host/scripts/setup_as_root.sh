# $1 user, $2 public key, $3 words, $4 dry run, $5 airplanes-host. As root.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=a
export PATH LC_ALL DEBIAN_FRONTEND NEEDRESTART_MODE
umask 022
WHO=$1 KEY=$2 WORDS=$3 DRY=$4 PROGRAM_TEXT=$5
say() { printf '%s\n' "$*" >&2; }
refuse() { printf 'refused %s\n' "$1"; shift; [ $# = 0 ] || printf '%s\n' "$@"; exit 10; }
last() { tail -n 4 "$1" | tr '\n' ' ' | tail -c 1500; }
[ -e /etc/os-release ] || refuse setup-system "said it has no /etc/os-release"
. /etc/os-release
case $ID in debian | ubuntu) ;; *) refuse setup-system "said it is $PRETTY_NAME" ;; esac
echo "system $ID $PRETTY_NAME"

# All that differs between systems: SYSTEM WORD TEST PACKAGES. Of two lines for one word the system's own counts.
packages() { # WORD
  awk -v id="$ID" -v word="$1" '($1 == id || $1 == "any") && $2 == word && !(found == id) { found = $1; line = $0 } END { print line }' <<'TABLE'
any    git        git      git
any    curl       curl     curl ca-certificates
any    sudo       sudo     sudo
any    java       java     default-jre-headless
any    postgresql pg_ctlcluster postgresql
debian nginx      nginx    nginx-light
ubuntu nginx      nginx    nginx
debian clojure    clojure  clojure
ubuntu clojure    clojure  universe clojure
debian certbot    certbot  certbot
ubuntu certbot    certbot  universe certbot
TABLE
}
# Whoever else installs something now is waited for.
apt() {
  n=0
  while ! apt-get -qq -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" >"$T/apt" 2>&1 </dev/null; do
    n=$((n + 1))
    grep -qE 'Could not get lock|Unable to lock|Unable to acquire' "$T/apt" && [ $n -lt 120 ] || return 1
    [ $n != 1 ] || say "waiting for another apt to end"
    sleep 5
  done
}
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
trap 'exit 130' INT TERM HUP
# WORDS, then COMMAND...: done unless this is a dry run.
does() {
  what=$1; shift
  if [ "$DRY" = yes ]; then echo "would $what"; return; fi
  say "$what"
  "$@" || refuse setup-failed "what $what" "said $(cat "$T"/* 2>/dev/null >"$T.said"; last "$T.said"; rm -f "$T.said")"
  echo "did $what"
}
same() { echo "same $1"; }

install_all() {
  case " $LACK " in *" universe "*) apt update && apt install software-properties-common && add-apt-repository -y universe >"$T/apt" 2>&1 </dev/null || return 1 ;; esac
  # shellcheck disable=SC2046 # the list is to be split
  apt update && apt install --no-install-recommends $(printf '%s' " $LACK " | sed 's/ universe / /g')
}
# What an installation that was cut off has left in the middle.
end_what_was_cut_off() {
  n=0
  while ! dpkg --force-confdef --force-confold --configure -a >"$T/apt" 2>&1 </dev/null; do
    n=$((n + 1))
    grep -qi 'lock' "$T/apt" && [ $n -lt 120 ] || break
    sleep 5
  done
  apt -f install && [ -z "$(dpkg --audit 2>&1)" ]
}
[ -z "$(dpkg --audit 2>&1)" ] || does "end an installation that was cut off" end_what_was_cut_off
LACK='' LACKING=''
for word in git curl sudo $WORDS; do
  line=$(packages "$word")
  [ -n "$line" ] || refuse setup-word "said $word"
  set -- $line
  shift 2
  if command -v "$1" >/dev/null 2>&1 || { [ "$word" = postgresql ] && ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1; }; then same "$word"; continue; fi
  shift
  LACK="$LACK $*" LACKING="$LACKING $word"
done
# shellcheck disable=SC2086
[ -z "$LACK" ] || does "install$LACKING" install_all

if id "$WHO" >/dev/null 2>&1; then same "the user $WHO"
else does "make the user $WHO" useradd --create-home --shell /bin/bash "$WHO"; fi
# Who may read the journal tells why a unit died.
if id -nG "$WHO" 2>/dev/null | grep -qw systemd-journal; then same "$WHO in the group systemd-journal"
else does "take $WHO into the group systemd-journal" usermod -aG systemd-journal "$WHO"; fi

home() { getent passwd "$WHO" | cut -d: -f6; }
add_key() {
  d=$(home)/.ssh f=$(home)/.ssh/authorized_keys g=$(id -gn "$WHO")
  install -d -m 700 -o "$WHO" -g "$g" "$d" || return 1
  [ ! -s "$f" ] || [ -z "$(tail -c 1 "$f")" ] || echo >>"$f"
  printf '%s\n' "$KEY" >>"$f" && chown "$WHO:$g" "$f" && chmod 600 "$f"
}
if [ -n "$KEY" ]; then
  # By the key alone: its comment may differ.
  if [ -n "$(home)" ] && grep -qF "$(printf '%s' "$KEY" | cut -d' ' -f1,2)" "$(home)/.ssh/authorized_keys" 2>/dev/null; then same "our key of $WHO"
  else does "let our key in as $WHO" add_key; fi
fi

# TEXT FILE MODE
has() { [ -e "$2" ] && [ "$(cat "$2" 2>/dev/null)" = "$1" ] && [ "$(stat -c %a "$2")" = "$3" ]; }
write() {
  printf '%s\n' "$1" >"$T/new" && { [ "${4:-}" != sudoers ] || visudo -cqf "$T/new" >"$T/visudo" 2>&1; } && install -m "$3" "$T/new" "$2.new" && mv -f "$2.new" "$2"
}
if has "$PROGRAM_TEXT" /usr/local/sbin/airplanes-host 755; then same /usr/local/sbin/airplanes-host
else does "put airplanes-host into /usr/local/sbin" write "$PROGRAM_TEXT" /usr/local/sbin/airplanes-host 755; fi
# A name begins with a letter or digit, and nothing in it begins an option; the last rule that fits counts.
RULES="# Made by airplanes: what $WHO may do as root. airplanes-host installs units, so it can become root by one.
$WHO ALL=(root) NOPASSWD: /usr/local/sbin/airplanes-host"
for verb in start stop restart reload; do
  RULES="$RULES
$WHO ALL=(root) NOPASSWD: /usr/bin/systemctl $verb [A-Za-z0-9]*, !/usr/bin/systemctl $verb *[!A-Za-z0-9@._\\:-]*"
done
if [ "$WHO" = root ]; then :
elif has "$RULES" /etc/sudoers.d/airplanes 440; then same "sudo for $WHO"
else does "let $WHO start and stop units, and call airplanes-host, with sudo" write "$RULES" /etc/sudoers.d/airplanes 440 sudoers; fi
exit 0
