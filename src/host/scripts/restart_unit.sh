# $1 unit, $2 the invocation that was seen before, or nothing if it had none: another one means that it has been
# restarted since.
NOW=$(systemctl show -p InvocationID --value "$1.service" 2>/dev/null) || NOW=
if [ -n "$NOW" ] && [ "$NOW" != "$2" ]; then
  say "$1 has been restarted already"
  echo 'restarted no'
else
  command -v systemctl >/dev/null 2>&1 || refuse no-systemd
  say "systemctl restart $1"
  as_root systemctl restart "$1"
  $SUDO systemctl restart "$1" >&2 || exit 1
  echo 'restarted yes'
fi
unit "$1"
echo end
