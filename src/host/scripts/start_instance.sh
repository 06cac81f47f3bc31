# $1 working directory, $2 unit, $3 port, $4 sha. Started anew, and noted is for which commit and which file of it: the note
# counts for as long as the instance has not been started again.
enter "$1"
is_releases || open_git
HEAD=$(head_here) || exit 1
[ "$HEAD" = "$4" ] || refuse wrong-sha "head $HEAD"
command -v systemctl >/dev/null 2>&1 || refuse no-systemd
as_root systemctl restart "$2@$3"
rm -f "$GIT/airplanes.$3" || exit 1
say "systemctl restart $2@$3"
$SUDO systemctl restart "$2@$3" >&2 || exit 1
read_marker
SUM=$(sum_here | cut -c 1-12)
printf '%s %s %s\n' "$(systemctl show -p InvocationID --value "$2@$3.service")" "$4" "${SUM:--}" >"$GIT/airplanes.$3.new" && mv -f "$GIT/airplanes.$3.new" "$GIT/airplanes.$3" || exit 1
echo end
