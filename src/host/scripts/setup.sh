# $1 the user to log in as from now on, $2 our public key or nothing, $3 what to install, in words, $4 `yes` for a dry
# run, $5 the program airplanes-host, $6 this script's rest for root. Says of each thing `same`, `did` or `would`.
if [ "$(id -u)" = 0 ]; then
  sh -c "$6" setup "$1" "$2" "$3" "$4" "$5"
else
  command -v sudo >/dev/null 2>&1 || refuse setup-root "said $(id -un) is not root, and there is no sudo"
  sudo -n true 2>/dev/null || refuse setup-root "said $(id -un) is not root, and sudo asks for a password"
  sudo -n sh -c "$6" setup "$1" "$2" "$3" "$4" "$5"
fi
CODE=$?
[ $CODE = 0 ] || [ $CODE = 10 ] || exit $CODE
echo end
exit $CODE
