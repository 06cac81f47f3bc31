# $1 working directory, $2 unit or nothing, $3 health url or nothing. One look.
[ -z "$2" ] || unit "$2"
enter "$1"
HEAD=$(head_here) && printf 'head %s\n' "$HEAD"
[ -n "$3" ] || { echo end; exit 0; }
if command -v curl >/dev/null 2>&1; then
  CODE=$(curl -gsS --noproxy '*' -m 5 -o /dev/null -w '%{http_code}' "$3" 2>&1) || :
  case $CODE in 2?? | 3??) echo 'health ok' ;; *) printf 'health %s\n' "$(printf '%s' "$CODE" | tr '\n' ' ')" ;; esac
elif command -v wget >/dev/null 2>&1; then
  SAID=$(wget -T 5 -O /dev/null "$3" 2>&1) && echo 'health ok' || printf 'health %s\n' "$(printf '%s' "$SAID" | tail -n 1)"
elif command -v bash >/dev/null 2>&1; then
  case $3 in http://*) ;; *) refuse no-tool "said curl or wget, for https" ;; esac
  REST=${3#http://}; AT=${REST%%/*}; WAY=/${REST#"$AT"}; WAY=/${WAY#//}
  case $AT in *:*) PORT=${AT##*:} NAME=${AT%:*} ;; *) PORT=80 NAME=$AT ;; esac
  LINE=$(bash -c 'exec 4<>"/dev/tcp/$0/$1" && printf "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n" "$2" "$0" >&4 && read -r -t 5 l <&4 && printf %s "$l"' "$NAME" "$PORT" "$WAY" 2>&1) || :
  case $LINE in HTTP/*' 2'?? | HTTP/*' 2'??' '* | HTTP/*' 3'??*) echo 'health ok' ;; *) printf 'health %s\n' "$(printf '%s' "${LINE:-no answer}" | tr '\r\n' '  ')" ;; esac
else
  refuse no-tool "said curl, wget or bash"
fi
echo end
