# $1 unit: how it is. Changes nothing.
command -v systemctl >/dev/null 2>&1 || refuse no-systemd
unit "$1"
echo end
