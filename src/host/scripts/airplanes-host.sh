#!/bin/sh
# airplanes-host: what airplanes does as root on this host, and nothing else. `airplanes host setup` puts it into
# /usr/local/sbin; sudo lets the user that airplanes logs in as call it. Whoever may write a unit can become root.
#
#   airplanes-host look UNIT      says what `install` would change
#   airplanes-host install UNIT   puts an app's unit, sites, credentials and database in place
#   airplanes-host folder PATH    makes a folder below /srv, /opt or /var/www for the user who calls
#   airplanes-host enable UNIT    starts it with the system
#   airplanes-host unit VERB UNIT start, stop, reload or restart, where sudo allows no systemctl
#   airplanes-host switch UNIT@PORT  has nginx send an app's requests to that instance, which starts with the system
#   airplanes-host retire UNIT@PORT  stops an instance, unless nginx sends requests to it
#
# The first two read what is wanted on standard input, a thing a line, files in base64; the answer is a thing a line
# too. All is verified before anything is replaced, and what was there is put back if systemd or nginx won't take it.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
umask 022
OURS='# Made by airplanes'
UNITS=/etc/systemd/system SITES=/etc/nginx/conf.d CREDENTIALS=/etc/credstore LIVE=/etc/letsencrypt/live
ACME=/var/lib/airplanes-acme NGINX_DUE=/run/airplanes-host.nginx SERVERS=/etc/nginx/airplanes

say() { printf '%s\n' "$*" >&2; }
refuse() { printf 'refused %s\n' "$1"; shift; [ $# = 0 ] || printf '%s\n' "$@"; exit 10; }
one_line() { tr '\n' ' ' | sed 's/ *$//' | tail -c 2000; }
is_plain() { case $1 in '' | [-.]* | *[!A-Za-z0-9@._:-]*) return 1 ;; esac; }
ours() { head -c 200 "$1" 2>/dev/null | grep -q "^$OURS"; }
# FROM TO MODE: whole or not at all, and on the disk.
put() { install -m "$3" "$1" "$2.new-$$" && sync "$2.new-$$" && mv -f "$2.new-$$" "$2"; }

[ "$(id -u)" = 0 ] || { say "airplanes-host: only root can"; exit 1; }
VERB=${1:-} NAME=${2:-}
case $VERB in
  folder)
    case $NAME/ in *[!A-Za-z0-9@._/-]* | */../* | */./* | *//*) refuse folder "said $NAME is no plain path" ;; esac
    case $NAME in /srv/?* | /opt/?* | /var/www/?*) ;; *) refuse folder "said it is not below /srv, /opt or /var/www" ;; esac
    REAL=$(realpath -m "$NAME"); [ "$REAL" = "$NAME" ] || refuse folder "said a link leads to $REAL"
    [ ! -e "$NAME" ] || exit 0
    mkdir -p "$(dirname "$NAME")" && mkdir "$NAME" || exit 1
    [ -z "${SUDO_UID:-}" ] || chown "$SUDO_UID:$SUDO_GID" "$NAME" || exit 1
    say "made $NAME"; exit 0 ;;
  unit) is_plain "${3:-}" || exit 2
    case $NAME in start | stop | reload | restart) exec systemctl "$NAME" "$3.service" ;; esac; exit 2 ;;
  switch | retire)
    PORT=${NAME##*@} NAME=${NAME%@*}
    is_plain "$NAME" || refuse name "said $NAME is no name of a unit"
    case $PORT in '' | *[!0-9]* | ??????*) refuse name "said $PORT is no port" ;; esac ;;
  look | install | enable) is_plain "$NAME" || refuse name "said $NAME is no name of a unit" ;;
  *) sed -n '2,/^# too/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
if [ "$VERB" = enable ]; then exec systemctl -q enable "$NAME.service"; fi

STAGE=$(mktemp -d /run/airplanes-host.XXXXXX) || exit 1
trap 'rm -rf "$STAGE"' EXIT
trap 'exit 130' INT TERM HUP
# One at a time: nginx's files are everybody's.
exec 9>/run/airplanes-host.lock
! command -v flock >/dev/null 2>&1 || flock -w 120 9 || refuse busy "said another run of airplanes-host"

U=$UNITS/$NAME.service S=$SITES/airplanes-$NAME.conf H=$SITES/airplanes.conf V=$SERVERS/$NAME.server
# Where an app has two instances: where nginx sends its requests, by the file that its site takes in. While nginx is not
# known to have read it, there is a note.
CUT_OFF=/run/airplanes-host.switch.$NAME
serving() { sed -n 's/^server .*:\([0-9]*\);$/\1/p' "$V" 2>/dev/null; }
server_file() { # PORT FILE
  printf '%s: where nginx sends the requests of %s; a deploy switches it.\nserver 127.0.0.1:%s;\n' "$OURS" "$NAME" "$1" >"$2"
}
# nginx's workers that take connections: those that do not any more say so in their title.
workers() {
  m=$(systemctl show -p MainPID --value nginx.service)
  for f in $(grep -ls "^PPid:[[:space:]]*$m\$" /proc/[0-9]*/status 2>/dev/null); do
    f=${f%/status}
    [ "$(tr -d '\0' <"$f/cmdline" 2>/dev/null)" != 'nginx: worker process' ] || printf '%s ' "${f#/proc/}"
  done
}
# nginx told to read its files, and seen to have: other workers take connections then, and none of those before. It says
# in its log why not, and goes on as it was.
taken_in() {
  if ! systemctl -q is-active nginx; then systemctl -q enable nginx; systemctl start nginx; return; fi
  before=$(workers)
  systemctl reload nginx || return
  n=0
  while :; do
    now=$(workers) left=no
    for w in $before; do case " $now" in *" $w "*) left=yes ;; esac; done
    [ -z "$now" ] || [ $left = yes ] || return 0
    n=$((n + 1)); [ $n -lt 200 ] || { echo "nginx did not read its files anew: see journalctl -u nginx and its error.log"; return 1; }
    sleep 0.1
  done
}
if [ "$VERB" = switch ]; then
  [ -e "$V" ] || refuse no-upstream "what $V"
  systemctl -q is-active "$NAME@$PORT.service" || refuse not-active "what $NAME@$PORT"
  systemctl -q is-enabled "$NAME@$PORT.service" >/dev/null 2>&1 || systemctl -q enable "$NAME@$PORT.service" >&2 || exit 1
  if [ "$(serving)" = "$PORT" ] && [ ! -e "$CUT_OFF" ]; then exit 0; fi
  cp "$V" "$STAGE/before" || exit 1
  WAS=$(serving)
  back() { put "$STAGE/before" "$V" 644; }
  server_file "$PORT" "$STAGE/server" && : >"$CUT_OFF" || exit 1
  put "$STAGE/server" "$V" 644 || { rm -f "$CUT_OFF"; exit 1; }
  if ! nginx -T >"$STAGE/said" 2>&1; then
    back; [ "$WAS" = "$PORT" ] || rm -f "$CUT_OFF"
    refuse reload "what nginx" "said $(grep -v '^#' "$STAGE/said" | head -n 4 | one_line)"
  fi
  if ! grep -qxF "# configuration file $V:" "$STAGE/said"; then
    back; rm -f "$CUT_OFF"
    refuse not-included "what $V"
  fi
  if ! taken_in >"$STAGE/said" 2>&1; then
    back; systemctl reload nginx >/dev/null 2>&1; [ "$WAS" = "$PORT" ] || rm -f "$CUT_OFF"
    refuse reload "what nginx" "said $(one_line <"$STAGE/said")"
  fi
  rm -f "$CUT_OFF"
  say "nginx sends requests to $NAME@$PORT"
  exit 0
fi
if [ "$VERB" = retire ]; then
  [ "$(serving)" != "$PORT" ] && [ ! -e "$CUT_OFF" ] || refuse serves "what $NAME@$PORT"
  systemctl -q disable "$NAME@$PORT.service" >/dev/null 2>&1
  systemctl stop "$NAME@$PORT.service" >&2 || exit 1
  # What the app ran as before it had instances.
  if [ -e "$U" ] || systemctl -q is-active "$NAME.service"; then
    systemctl -q disable "$NAME.service" >/dev/null 2>&1
    systemctl stop "$NAME.service" >&2 || exit 1
    ! ours "$U" || { rm -f "$U"; systemctl daemon-reload; }
  fi
  say "stopped $NAME@$PORT"
  exit 0
fi
mkdir "$STAGE/unit" "$STAGE/new" "$STAGE/old" || exit 1
TAKE=keep USER_WANTED='' DATABASE='' ROLE='' WANTED='' ENDED='' CERTBOT='' FILE=$NAME.service ONE=$NAME.service PORTS=''
decoded() { (umask 077; printf '%s' "$1" | base64 -d >"$2") || refuse garbled; }
while IFS=' ' read -r key a b c; do
  case $key in
    format) [ "$a" = 1 ] || refuse old ;;
    take) TAKE=$a ;; # what somebody else made: keep, or replace
    ports) # A B: a template, with an instance for each
      case $a$b in '' | *[!0-9]*) refuse garbled ;; esac
      PORTS="$a $b" FILE=$NAME@.service U=$UNITS/$NAME@.service
      SERVING=$(serving); ONE=$NAME@${SERVING:-$a}.service ;;
    unit) decoded "$a" "$STAGE/unit/$FILE" ;;
    site) decoded "$a" "$STAGE/new/site" ;;
    site-before) decoded "$a" "$STAGE/new/site-before" ;;
    http) decoded "$a" "$STAGE/new/http" ;;
    certbot) CERTBOT="$CERTBOT $a=$b" ;; # NAME,ALIAS… EMAIL or -
    user) is_plain "$a" || refuse garbled; USER_WANTED=$a ;;
    secret) is_plain "$a" || refuse garbled; decoded "$b" "$STAGE/new/secret.$a"; WANTED="$WANTED $a" ;;
    needs) is_plain "$a" || refuse garbled; WANTED="$WANTED $a" ;;
    postgres)
      case $a$b in *[!a-z0-9_]*) refuse garbled ;; esac
      DATABASE=$a ROLE=$b WANTED="$WANTED postgres-password pgpass" ;;
    end) ENDED=yes; break ;;
    *) refuse old ;; # a newer airplanes' word
  esac
done
[ -n "$ENDED" ] || refuse garbled

# WANTED-FILE PLACE: new, same, differs, or foreign.
standing() {
  if [ ! -e "$2" ]; then echo new
  elif cmp -s "$1" "$2"; then echo same
  elif ours "$2" || [ "$TAKE" = replace ]; then echo differs
  else echo foreign; fi
}
is_due() { case $1 in new | differs) return 0 ;; esac; return 1; }
# KIND STANDING PLACE: told, with what is there now for whoever wants to see the difference.
tell() {
  printf '%s %s %s\n' "$1" "$2" "$3"
  [ "$VERB" != look ] || [ "$2" = new ] || [ "$2" = same ] || printf 'now-%s %s\n' "$1" "$(base64 -w0 "$3")"
}
as_postgres() { (cd / && runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 "$@"); }

# --- what is
UNIT='' SITE='' HTTP='' DUE=''
if [ -e "$STAGE/unit/$FILE" ]; then
  command -v systemctl >/dev/null 2>&1 || refuse no-systemd
  UNIT=$(standing "$STAGE/unit/$FILE" "$U"); tell unit "$UNIT" "$U"
fi
if [ -n "$USER_WANTED" ] && ! id "$USER_WANTED" >/dev/null 2>&1; then echo "user new $USER_WANTED"; fi
if [ -e "$STAGE/new/site" ]; then
  command -v nginx >/dev/null 2>&1 || refuse no-nginx
  # Until certbot has been there, the site is the one that certbot needs.
  LACK=''
  for cert in $CERTBOT; do
    first=${cert%%[,=]*}
    is_plain "$first" || refuse garbled
    [ -e "$LIVE/$first/fullchain.pem" ] || LACK="$LACK $cert"
  done
  [ -z "$LACK" ] || { [ "$VERB" = look ] || cp "$STAGE/new/site" "$STAGE/new/site-after"; cp "$STAGE/new/site-before" "$STAGE/new/site"; }
  for cert in $LACK; do echo "certificate new ${cert%%[,=]*}"; done
  HTTP=$(standing "$STAGE/new/http" "$H"); tell http "$HTTP" "$H"
  SITE=$(standing "$STAGE/new/site" "$S"); tell site "$SITE" "$S"
  if [ -n "$PORTS" ]; then
    [ "$SITE" != foreign ] || grep -qF "$V;" "$S" || refuse not-included "what $V"
    if [ -e "$V" ]; then echo "upstream same $V"; else echo "upstream new $V"; fi
  fi
fi
has_database() { [ "$(as_postgres -d postgres -c "select 1 from pg_database where datname = '$DATABASE'" 2>/dev/null)" = 1 ]; }
# By what the unit is given.
can_log_in() { PGPASSFILE=$CREDENTIALS/$NAME.pgpass psql -XAtqw -h 127.0.0.1 -U "$ROLE" -d "$DATABASE" -c 'select 1' >/dev/null 2>&1 </dev/null; }
if [ -n "$DATABASE" ]; then
  command -v psql >/dev/null 2>&1 || refuse no-postgres
  as_postgres -d postgres -c 'select 1' >/dev/null 2>"$STAGE/said" || refuse postgres "said $(one_line <"$STAGE/said")"
  if has_database && [ -s "$CREDENTIALS/$NAME.postgres-password" ] && can_log_in; then POSTGRES=same; else POSTGRES=new; fi
  echo "postgres $POSTGRES $DATABASE"
fi
for name in $WANTED; do
  if [ -e "$STAGE/new/secret.$name" ]; then
    if [ ! -e "$CREDENTIALS/$NAME.$name" ]; then echo "secret new $name"
    elif cmp -s "$STAGE/new/secret.$name" "$CREDENTIALS/$NAME.$name"; then echo "secret same $name"
    else echo "secret differs $name"; fi
  elif [ -e "$CREDENTIALS/$NAME.$name" ]; then echo "secret same $name"
  elif [ -n "$DATABASE" ] && { [ "$name" = postgres-password ] || [ "$name" = pgpass ]; }; then : # made with it
  else echo "secret absent $name"; fi
done
# Whether what runs was started before what it runs by was put there.
stale() {
  [ -n "$UNIT" ] && [ "$UNIT" != foreign ] && systemctl -q is-active "$ONE" || return 0
  STARTED=$(date -d "$(systemctl show -p ActiveEnterTimestamp --value "$ONE")" +%s 2>/dev/null) || return 0
  for file in "$U" "$CREDENTIALS/$NAME".*; do
    [ ! -e "$file" ] || [ "$(stat -c %Y "$file")" -le "$STARTED" ] || { echo 'stale yes'; return; }
  done
}
if [ "$VERB" = look ]; then stale; exit 0; fi

# --- verified before anything is replaced
if [ "$UNIT" = foreign ] || [ "$UNIT" = '' ]; then rm -f "$STAGE/unit/$FILE"; fi
if is_due "$UNIT"; then
  STRICT=--recursive-errors=yes
  systemd-analyze --help 2>/dev/null | grep -q recursive-errors || STRICT=
  # Ended by 0 or not, a word about this unit is one too many.
  systemd-analyze verify --man=no $STRICT "$STAGE/unit/$FILE" >"$STAGE/said" 2>&1
  CODE=$?
  grep -E "$NAME(@[^ ]*)?\.service|^Failed" "$STAGE/said" >"$STAGE/words" || :
  if [ -s "$STAGE/words" ] || { [ $CODE != 0 ] && [ -n "$STRICT" ] && ! [ -s "$STAGE/said" ]; }; then
    refuse verify "what unit" "said $(sed "s|$STAGE/unit/||g" "$STAGE/words" | one_line)"
  fi
fi
# A copy of nginx's files with the new ones in it, which name each other and not the old ones.
try_nginx() { # SITE
  rm -rf "$STAGE/nginx"; cp -a /etc/nginx "$STAGE/nginx" || exit 1
  mkdir -p "$STAGE/nginx/conf.d"
  [ "$HTTP" = foreign ] || cp "$STAGE/new/http" "$STAGE/nginx/conf.d/airplanes.conf" || exit 1
  [ "$SITE" = foreign ] || cp "$1" "$STAGE/nginx/conf.d/airplanes-$NAME.conf" || exit 1
  if [ -n "$PORTS" ] && [ ! -e "$V" ]; then mkdir -p "$STAGE/nginx/airplanes" && cp "$STAGE/new/server" "$STAGE/nginx/airplanes/$NAME.server" || exit 1; fi
  find "$STAGE/nginx" -type f -exec sed -i "s|/etc/nginx/|$STAGE/nginx/|g" {} +
  nginx -t -q -c "$STAGE/nginx/nginx.conf" >"$STAGE/said" 2>&1 || refuse verify "what site" "said $(sed "s|$STAGE/nginx/|/etc/nginx/|g" "$STAGE/said" | one_line)"
}
# Where there is none: what its site said before it had two instances, so that nothing changes for anybody; else the port
# whose instance is not the first to be started.
if [ -n "$PORTS" ] && [ ! -e "$V" ]; then
  WAS=''
  ! ours "$S" || WAS=$(sed -n 's/^[[:space:]]*server 127\.0\.0\.1:\([0-9]*\);$/\1/p' "$S" | sed -n 1p)
  server_file "${WAS:-${PORTS#* }}" "$STAGE/new/server" || exit 1
fi
if is_due "$HTTP" || is_due "$SITE"; then try_nginx "$STAGE/new/site"; fi

# --- put in place
if [ -n "$USER_WANTED" ] && ! id "$USER_WANTED" >/dev/null 2>&1; then
  useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$USER_WANTED" >&2 || exit 1
fi
[ -z "$WANTED" ] || install -d -m 700 "$CREDENTIALS" || exit 1
if [ "${POSTGRES:-same}" = new ]; then
  [ "$(as_postgres -d postgres -c "select 1 from pg_roles where rolname = '$ROLE'")" = 1 ] || as_postgres -d postgres -c "create role $ROLE login" || exit 1
  has_database || as_postgres -d postgres -c "create database $DATABASE owner $ROLE" || exit 1
  if ! [ -s "$CREDENTIALS/$NAME.postgres-password" ]; then
    (umask 077; od -An -tx1 -N24 /dev/urandom | tr -d ' \n' >"$STAGE/password") || exit 1
    put "$STAGE/password" "$CREDENTIALS/$NAME.postgres-password" 400 || exit 1
  fi
  (umask 077; printf '*:*:%s:%s:%s\n' "$DATABASE" "$ROLE" "$(cat "$CREDENTIALS/$NAME.postgres-password")" >"$STAGE/pgpass") || exit 1
  put "$STAGE/pgpass" "$CREDENTIALS/$NAME.pgpass" 400 || exit 1
  # On no command line, and in no log.
  { echo "set log_statement = 'none'; set log_min_duration_statement = -1; set log_min_error_statement = 'panic'; set track_activities = off;"
    printf "alter role %s login password '%s';\n" "$ROLE" "$(cat "$CREDENTIALS/$NAME.postgres-password")"
  } | as_postgres -d postgres -f - || exit 1
  can_log_in || refuse postgres "said $ROLE can't log in to $DATABASE on 127.0.0.1 with its password: see pg_hba.conf"
  say "database $DATABASE of $ROLE"
fi
for name in $WANTED; do
  [ -e "$STAGE/new/secret.$name" ] && ! cmp -s "$STAGE/new/secret.$name" "$CREDENTIALS/$NAME.$name" || continue
  put "$STAGE/new/secret.$name" "$CREDENTIALS/$NAME.$name" 400 || exit 1
  say "credential $name"
done
# What is no longer wanted is not kept.
if [ -n "$UNIT" ] && [ "$UNIT" != foreign ]; then
  for file in "$CREDENTIALS/$NAME".*; do
    name=${file#"$CREDENTIALS/$NAME".}
    case " $WANTED " in *" $name "*) ;; *) [ ! -e "$file" ] || { rm -f "$file"; say "credential $name is gone"; } ;; esac
  done
fi
back() { # NAME PLACE: as it was
  if [ -e "$STAGE/old/$1" ]; then put "$STAGE/old/$1" "$2" 644; else rm -f "$2"; fi
}
if is_due "$UNIT"; then
  [ ! -e "$U" ] || cp "$U" "$STAGE/old/unit" || exit 1
  { [ ! -e "$U" ] || ours "$U"; } || cp "$U" "$U.before-airplanes" || exit 1
  put "$STAGE/unit/$FILE" "$U" 644 || exit 1
  say "$U"
  if ! systemctl daemon-reload >"$STAGE/said" 2>&1; then
    back unit "$U"; systemctl daemon-reload 2>/dev/null
    refuse reload "what systemd" "said $(one_line <"$STAGE/said")"
  fi
fi
if [ -n "$UNIT" ] && [ "$UNIT" != foreign ]; then
  # A run that was killed before this.
  [ "$(systemctl show -p NeedDaemonReload --value "$ONE")" != yes ] || systemctl daemon-reload
  # Of two instances the one is enabled that nginx sends requests to.
  [ -n "$PORTS" ] || systemctl -q is-enabled "$ONE" >/dev/null 2>&1 || systemctl -q enable "$ONE" >&2 || exit 1
fi
take_in() { # by nginx: told to read its files again, or begun
  if systemctl -q is-active nginx; then systemctl reload nginx; else systemctl -q enable nginx && systemctl start nginx; fi
}
if [ -n "$PORTS" ] && [ ! -e "$V" ]; then
  mkdir -p "$SERVERS" && put "$STAGE/new/server" "$V" 644 || exit 1
  say "$V"
fi
sites() { # SITE: it and what all share, and nginx told
  cp "$S" "$STAGE/old/site" 2>/dev/null; cp "$H" "$STAGE/old/http" 2>/dev/null
  : >"$NGINX_DUE"
  [ "$HTTP" = foreign ] || cmp -s "$STAGE/new/http" "$H" || { put "$STAGE/new/http" "$H" 644 || exit 1; say "$H"; }
  [ "$SITE" = foreign ] || cmp -s "$1" "$S" || { put "$1" "$S" 644 || exit 1; say "$S"; }
  if ! take_in >"$STAGE/said" 2>&1; then
    back site "$S"; back http "$H"; take_in >/dev/null 2>&1
    rm -f "$NGINX_DUE"
    refuse reload "what nginx" "said $(one_line <"$STAGE/said")"
  fi
  rm -f "$NGINX_DUE"
}
if [ -n "$SITE" ]; then
  if is_due "$HTTP" || is_due "$SITE" || [ -e "$NGINX_DUE" ] || ! systemctl -q is-active nginx; then sites "$STAGE/new/site"; fi
  for cert in ${LACK:-}; do
    command -v certbot >/dev/null 2>&1 || refuse no-certbot
    mkdir -p "$ACME" || exit 1
    email=${cert#*=} names=${cert%%=*}
    case $email in -) email=--register-unsafely-without-email ;; *) email="--email=$email" ;; esac
    certbot certonly --non-interactive --agree-tos "$email" --webroot --webroot-path "$ACME" --keep-until-expiring \
      --deploy-hook 'systemctl reload nginx' -d "$names" >"$STAGE/said" 2>&1 </dev/null ||
      refuse certbot "said $(one_line <"$STAGE/said")"
    say "certificate of $names"
  done
  if [ -n "${LACK:-}" ]; then
    SITE=differs; try_nginx "$STAGE/new/site-after"; sites "$STAGE/new/site-after"
  fi
fi
# Instances that the app has no more.
if [ -z "$PORTS" ] && [ -n "$UNIT" ] && [ "$UNIT" != foreign ] && ours "$UNITS/$NAME@.service"; then
  systemctl -q disable "$NAME@.service" >/dev/null 2>&1
  systemctl stop "$NAME@*.service" >&2
  rm -f "$UNITS/$NAME@.service" "$V"; systemctl daemon-reload
  say "stopped the instances of $NAME"
fi
stale
exit 0
