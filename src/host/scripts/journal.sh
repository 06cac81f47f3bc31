# $1 unit, $2 how many lines.
command -v journalctl >/dev/null 2>&1 || refuse no-systemd
SAID=$(journalctl -u "$1.service" -n "$2" --no-pager -q -o short-iso 2>&1) || SAID=
[ -n "$SAID" ] || SAID=$(sudo -n journalctl -u "$1.service" -n "$2" --no-pager -q -o short-iso 2>/dev/null) || SAID=
if [ -z "$SAID" ] && [ "$(id -u)" = 0 ]; then SAID="(none)"; fi
[ -n "$SAID" ] || SAID="(none that $(id -un) may read; add it to the group systemd-journal)"
printf '%s\n' "$SAID" | prefixed line
echo end
