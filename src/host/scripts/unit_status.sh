# $1 unit, $2 lines: how systemd shows it to people. Changes nothing.
command -v systemctl >/dev/null 2>&1 || refuse no-systemd
unit "$1"
systemctl status --no-pager --full -n "$2" "$1.service" 2>&1 | prefixed line
echo end
