# $1 unit, $2 how many lines: the last that it said since it was last started, and where systemd starts it again and again
# those of before too. Each with its time of day.
command -v journalctl >/dev/null 2>&1 || refuse no-systemd
UNIT=$1.service COUNT=$2
ID=$(systemctl show -p InvocationID --value "$UNIT" 2>/dev/null) || ID=
[ "$(systemctl show -p NRestarts --value "$UNIT" 2>/dev/null)" = 0 ] || ID=
set -- -u "$UNIT"
[ -z "$ID" ] || set -- "_SYSTEMD_INVOCATION_ID=$ID" + "INVOCATION_ID=$ID"
SAID=$(journalctl "$@" -n "$COUNT" --no-pager -q -o short-iso 2>&1) || SAID=
[ -n "$SAID" ] || SAID=$(sudo -n journalctl "$@" -n "$COUNT" --no-pager -q -o short-iso 2>/dev/null) || SAID=
if [ -z "$SAID" ] && [ "$(id -u)" = 0 ]; then SAID="(none)"; fi
[ -n "$SAID" ] || SAID="(none that $(id -un) may read; add it to the group systemd-journal)"
printf '%s\n' "$SAID" | sed 's/^[0-9-]*T\([0-9:]*\)[^ ]* [^ ]* /\1 /' | prefixed line
echo end
