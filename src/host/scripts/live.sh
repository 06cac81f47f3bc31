# $1 working directory, $2 sha. The tree is on the disk already, by bring.
enter "$1"
is_releases || open_git
HEAD=$(head_here) || exit 1
[ "$HEAD" = "$2" ] || refuse wrong-sha "head $HEAD"
read_marker
if [ "$M_SHA" != "$2" ] || [ "$M_STATE" != live ]; then
  [ "$M_SHA" = "$2" ] || M_SUM=
  write_marker "{\"sha\":\"$2\",\"state\":\"live\"${M_SUM:+,\"sum\":\"$M_SUM\"}}"
fi
[ ! -d "$GIT/airplanes-next" ] || rm -rf "$GIT/airplanes-next"
echo end
