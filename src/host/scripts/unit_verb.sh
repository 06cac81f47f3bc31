# $1 what is done, $2 unit: start, stop, restart or reload it, or have it start with the system.
command -v systemctl >/dev/null 2>&1 || refuse no-systemd
PROGRAM=/usr/local/sbin/airplanes-host
if [ "$1" = enable ]; then set -- enable "$2" "$PROGRAM" enable "$2"
elif [ "$(id -u)" != 0 ] && ! sudo -n -l systemctl "$1" "$2" >/dev/null 2>&1 </dev/null; then set -- "$1" "$2" "$PROGRAM" unit "$1" "$2"
else set -- "$1" "$2" systemctl "$1" "$2"; fi
UNIT=$2; shift 2
if [ "$(id -u)" = 0 ]; then
  [ "$2" != enable ] || set -- systemctl -q enable "$UNIT"
  "$@" >&2 || exit 1
else
  command -v sudo >/dev/null 2>&1 || refuse program-sudo "said there is no sudo"
  SAID=$(sudo -n -l "$@" 2>&1 >/dev/null </dev/null) || refuse program-sudo "said $(printf '%s' "$SAID" | tr '\n' ' ')"
  sudo -n "$@" >&2 </dev/null || exit 1
fi
unit "$UNIT"
echo end
