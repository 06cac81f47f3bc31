# $1 the program airplanes-host, $2 and $3 its arguments; what it is given comes on standard input. As root it is run as
# this daemon has it, else as it is installed, since sudo allows that one.
PROGRAM=/usr/local/sbin/airplanes-host
if [ "$(id -u)" = 0 ]; then
  sh -c "$1" airplanes-host "$2" "$3"
else
  [ -x "$PROGRAM" ] || refuse no-program
  command -v sudo >/dev/null 2>&1 || refuse program-sudo "said there is no sudo"
  SAID=$(sudo -n -l "$PROGRAM" "$2" "$3" 2>&1 >/dev/null </dev/null) || refuse program-sudo "said $(printf '%s' "$SAID" | tr '\n' ' ')"
  sudo -n "$PROGRAM" "$2" "$3"
fi
CODE=$?
# A verb or a unit's kind that it does not know.
[ $CODE != 2 ] || refuse old
[ $CODE = 0 ] || [ $CODE = 10 ] || exit $CODE
echo end
exit $CODE
