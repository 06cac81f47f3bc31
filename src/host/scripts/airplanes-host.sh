#!/bin/sh
# airplanes-host: what airplanes does as root on this host, and nothing else. `airplanes host setup` puts it into
# /usr/local/sbin; sudo lets the user that airplanes logs in as call it. Whoever may write a unit can become root.
#
#   airplanes-host look UNIT      says what `install` would change
#   airplanes-host install UNIT   puts an app's unit, sites, credentials and database in place
#   airplanes-host back UNIT      puts back what the installs of a job have replaced
#   airplanes-host migrate UNIT   runs an app's migration once a job, as a unit of its own, and says how it goes
#   airplanes-host folder PATH    makes a folder below /srv, /opt or /var/www for the user who calls
#   airplanes-host enable UNIT    starts it with the system
#   airplanes-host unit VERB UNIT start, stop, reload or restart, where sudo allows no systemctl
#   airplanes-host switch UNIT@PORT  has nginx send an app's requests to that instance, which starts with the system
#   airplanes-host retire UNIT@PORT  stops an instance, unless nginx sends requests to it
#
# The first four read what is wanted on standard input, a thing a line, files in base64; the answer is a thing a line
# too. All is verified before anything is replaced, and what was there is put back if systemd or nginx won't take it.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
umask 022
OURS='# Made by airplanes'
UNITS=/etc/systemd/system SITES=/etc/nginx/conf.d CREDSTORE=/etc/credstore LIVE=/etc/letsencrypt/live
ACME=/var/lib/airplanes-acme NGINX_DUE=/run/airplanes-host.nginx SERVERS=/etc/nginx/airplanes KEPT=/var/lib/airplanes-host
MIGRATIONS=/var/lib/airplanes-migrate RUNTIME=/run/systemd/system

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
  look | install | back | migrate | enable) is_plain "$NAME" || refuse name "said $NAME is no name of a unit" ;;
  *) sed -n '2,/^# too/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
if [ "$VERB" = enable ]; then exec systemctl -q enable "$NAME.service"; fi

# One at a time: nginx's files are everybody's.
exec 9>/run/airplanes-host.lock
! command -v flock >/dev/null 2>&1 || flock -w 120 9 || refuse busy "said another run of airplanes-host"
# What one that was killed has left may hold secrets.
rm -rf /run/airplanes-host.stage.*
STAGE=$(mktemp -d /run/airplanes-host.stage.XXXXXX) || exit 1
trap 'rm -rf "$STAGE"' EXIT
trap 'exit 130' INT TERM HUP

U=$UNITS/$NAME.service S=$SITES/airplanes-$NAME.conf H=$SITES/airplanes.conf V=$SERVERS/$NAME.server
# A unit's credentials have a folder, and the password of a database's role is everybody's who has that role. Before that a
# credential was CREDSTORE/UNIT.NAME: what is wanted and lies there is taken over.
C=$CREDSTORE/airplanes/$NAME ROLES=$CREDSTORE/airplanes-postgres
# Where an app has two instances: where nginx sends its requests, by the file that its site takes in. While nginx is not
# known to have read it, there is a note.
CUT_OFF=/run/airplanes-host.switch.$NAME
# A site of a plain unit's, from before, does not take that file in.
in_force() { [ -e "$V" ] && { [ ! -e "$S" ] || grep -qF "$V;" "$S"; }; }
serving() { ! in_force || sed -n 's/^server .*:\([0-9]*\);$/\1/p' "$V" 2>/dev/null; }
# The port of the instance that runs; where two do, of the one that starts with the system.
running() {
  systemctl list-units --plain --no-legend --state=active "$NAME@*.service" 2>/dev/null |
    sed -n 's/^[^ ]*@\([0-9]\{1,5\}\)\.service .*/\1/p' >"$STAGE/running"
  [ "$(wc -l <"$STAGE/running")" -gt 1 ] || { cat "$STAGE/running"; return; }
  while read -r port; do ! systemctl -q is-enabled "$NAME@$port.service" || echo "$port"; done <"$STAGE/running" | sed -n 1p
}
server_file() { # PORT FILE
  printf '%s: where nginx sends the requests of %s; a deploy switches it.\nserver 127.0.0.1:%s;\n' "$OURS" "$NAME" "$1" >"$2"
}
# nginx's workers that take connections, or are about to, which have their master's title yet: those that do not any more
# say so in theirs.
workers() {
  m=$(systemctl show -p MainPID --value nginx.service)
  for f in $(grep -ls "^PPid:[[:space:]]*$m\$" /proc/[0-9]*/status 2>/dev/null); do
    f=${f%/status}
    case $(tr '\0' ' ' <"$f/cmdline" 2>/dev/null) in
      'nginx: worker process is'*) ;;
      'nginx: worker process'* | 'nginx: master process'*) printf '%s ' "${f#/proc/}" ;;
    esac
  done
}
# nginx told to read its files, and seen to have: other workers take connections then, and none of those before. It says
# in its log why not, and goes on as it was. Twice, since the first workers that come may be those of somebody else's
# reload, which had read the files before they were changed; the second are of ours.
taken_in() {
  if ! systemctl -q is-active nginx; then systemctl -q enable nginx; systemctl start nginx; return; fi
  for round in 1 2; do
    before=$(workers)
    systemctl reload nginx || return
    n=0
    while :; do
      now=$(workers) left=no
      for w in $before; do case " $now" in *" $w "*) left=yes ;; esac; done
      [ -z "$now" ] || [ $left = yes ] || break
      n=$((n + 1)); [ $n -lt 200 ] || { echo "nginx did not read its files anew: see journalctl -u nginx and its error.log"; return 1; }
      sleep 0.1
    done
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
  # What the app ran as before it had instances, once one of them has the requests.
  if systemctl -q is-active "$NAME@$(serving).service" && { [ -e "$U" ] || systemctl -q is-active "$NAME.service"; }; then
    systemctl -q disable "$NAME.service" >/dev/null 2>&1
    systemctl stop "$NAME.service" >&2 || exit 1
    ! ours "$U" || { rm -f "$U"; systemctl daemon-reload; }
  fi
  say "stopped $NAME@$PORT"
  exit 0
fi
mkdir "$STAGE/unit" "$STAGE/new" "$STAGE/old" || exit 1
TAKE=keep JOB='' USER_WANTED='' DATABASE='' ROLE='' WANTED='' ENDED='' CERTBOT='' FILE=$NAME.service ONE=$NAME.service PORTS='' BEGIN='' FROM=0
decoded() { (umask 077; printf '%s' "$1" | base64 -d >"$2") || refuse garbled; }
while IFS=' ' read -r key a b c; do
  case $key in
    format) [ "$a" = 2 ] || refuse old ;;
    take) TAKE=$a ;; # what somebody else made: keep, or replace
    for) is_plain "$a" || refuse garbled; JOB=$a ;; # the job that it is for
    ports) # A B: a template, with an instance for each
      case $a$b in '' | *[!0-9]*) refuse garbled ;; esac
      PORTS="$a $b" FILE=$NAME@.service U=$UNITS/$NAME@.service
      SERVING=$(serving); SERVING=${SERVING:-$(running)}; ONE=$NAME@${SERVING:-$a}.service ;;
    unit) decoded "$a" "$STAGE/unit/$FILE" ;;
    run) decoded "$a" "$STAGE/new/run"; decoded "$b" "$STAGE/new/once" ;; # a migration's unit, and what is its alone
    begin) BEGIN=yes ;;
    from) case $a in '' | *[!0-9]*) refuse garbled ;; esac; FROM=$a ;; # how much of its log is known
    site) decoded "$a" "$STAGE/new/site" ;;
    site-before) decoded "$a" "$STAGE/new/site-before" ;;
    http) decoded "$a" "$STAGE/new/http" ;;
    certbot) CERTBOT="$CERTBOT $a=$b" ;; # NAME,ALIAS… EMAIL or -
    user) is_plain "$a" || refuse garbled; USER_WANTED=$a ;;
    secret) is_plain "$a" || refuse garbled; decoded "$b" "$STAGE/new/secret.$a"; WANTED="$WANTED $a" ;;
    needs) is_plain "$a" || refuse garbled; WANTED="$WANTED $a" ;;
    postgres)
      case $a$b in *[!a-z0-9_]*) refuse garbled ;; esac
      DATABASE=$a ROLE=$b PASSWORD=$ROLES/$b ;;
    end) ENDED=yes; break ;;
    *) refuse old ;; # a newer airplanes' word
  esac
done
[ -n "$ENDED" ] || refuse garbled

# A migration, once for each job: `began` is there from when it begins and `end` from when it ended, as systemd saw it, both
# written by the unit itself. So whoever asks again, in whatever state a daemon or a connection was lost, begins no other.
M=airplanes-migrate-$NAME.service D=$MIGRATIONS/$NAME
is_migrating() {
  case $(systemctl show -p ActiveState --value "$M") in active | activating | reloading | deactivating) return 0 ;; esac
  case $(systemctl show -p Job --value "$M") in '' | 0) return 1 ;; esac
}
if [ "$VERB" = migrate ]; then
  [ -n "$JOB" ] || refuse garbled
  command -v systemctl >/dev/null 2>&1 || refuse no-systemd
  OF=$(cat "$D/job" 2>/dev/null) || OF=
  if [ "$OF" != "$JOB" ] && is_migrating; then refuse migrating "what $M" "said $OF"; fi
  # Whose user and folders are not ours to know.
  [ ! -e "$U" ] || ours "$U" || refuse foreign-unit "what $U"
fi
if [ "$VERB" = migrate ] && [ ! -e "$STAGE/new/run" ]; then
  [ "$OF" = "$JOB" ] || { echo 'migration none'; exit 0; }
  [ -z "$BEGIN" ] || [ -e "$D/began" ] || [ -e "$D/end" ] || is_migrating || systemctl start "$M" >&2
  # In this order: one that had begun and runs no more has written its end.
  NOW=none
  [ ! -e "$D/began" ] || NOW=lost
  ! is_migrating || NOW=running
  SIZE=$(stat -c %s "$D/log" 2>/dev/null) || SIZE=0
  if [ -e "$D/end" ]; then
    NOW=ended
    read -r RESULT CODE STATUS <"$D/end"
    printf 'how %s\n' "$RESULT $CODE $STATUS"
    # What it said last may have neither an end nor a bound.
    { if [ -e "$D/began" ]; then tail -c 4000 "$D/log" | tail -n 4; else journalctl -u "$M" -n 4 --no-pager -q -o cat | tail -c 4000; fi
      echo; } 2>/dev/null | sed 's/^/word /'
  fi
  N=$((SIZE - FROM))
  [ $N -ge 0 ] || N=0
  [ $N -le 262144 ] || N=262144
  [ $N = 0 ] || tail -c +$((FROM + 1)) "$D/log" | head -c $N >&2
  printf 'migration %s\nat %s\nsize %s\n' "$NOW" $((FROM + N)) "$SIZE"
  exit 0
fi

take_in() { # by nginx: told to read its files again, or begun
  if systemctl -q is-active nginx; then systemctl reload nginx; else systemctl -q enable nginx && systemctl start nginx; fi
}
started() { date -d "$(systemctl show -p ActiveEnterTimestamp --value "$ONE")" +%s 2>/dev/null; }
needs_reload() { [ "$(systemctl show -p NeedDaemonReload --value "$ONE")" = yes ]; }
# What a job's first install finds of what it may replace is kept here, until another job's. What was not there before
# stays: there is nothing to go back to.
K=$KEPT/$NAME
is_kept() { [ -n "$JOB" ] && [ "$(cat "$K/job" 2>/dev/null)" = "$JOB" ]; }
keep() {
  [ -n "$JOB" ] && ! is_kept || return 0
  install -d -m 700 "$KEPT" && rm -rf "$KEPT/.new" && mkdir -m 700 "$KEPT/.new" "$KEPT/.new/credentials" || return 1
  [ -z "$UNIT" ] || [ "$UNIT" = foreign ] || [ "$UNIT" = new ] || cp -p "$U" "$KEPT/.new/unit" || return 1
  [ ! -e "$S" ] || [ "$SITE" = foreign ] || cp -p "$S" "$KEPT/.new/site" || return 1
  for file in "$C"/*; do [ ! -e "$file" ] || cp -p "$file" "$KEPT/.new/credentials/" || return 1; done
  printf '%s\n' "$JOB" >"$KEPT/.new/job" && { sync -f "$KEPT" 2>/dev/null || sync; } && rm -rf "$K" && mv "$KEPT/.new" "$K"
}
if [ "$VERB" = back ]; then
  is_kept || exit 0
  # Whether what runs was started since then, so by what was put there; the plain unit is by none of that.
  NEWER=''
  is_plain_up() { [ -n "$PORTS" ] && systemctl -q is-active "$NAME.service"; }
  is_plain_up || ! systemctl -q is-active "$ONE" || [ "$(started)" -lt "$(stat -c %Y "$K/job")" ] || { NEWER=yes; echo 'newer yes'; }
  put_back() { # FILE PLACE MODE
    [ -e "$1" ] && ! cmp -s "$1" "$2" || return 0
    put "$1" "$2" "$3" || exit 1
    echo "back $2"; say "$2 is what it was"
  }
  for file in "$K/credentials"/*; do
    [ ! -e "$file" ] || { install -d -m 700 "$C" || exit 1; put_back "$file" "$C/${file##*/}" 400; }
  done
  put_back "$K/unit" "$U" 644
  ! needs_reload || systemctl daemon-reload || exit 1
  # As old as they were, since what runs is of that time too; only now, since systemd tells a file that it has not read by
  # its age.
  [ -n "$NEWER" ] || for file in "$K/unit" "$K/credentials"/*; do
    case $file in "$K/unit") place=$U ;; *) place=$C/${file##*/} ;; esac
    [ ! -e "$file" ] || touch -r "$file" "$place"
  done
  # The site of a plain unit would send requests to nobody where that runs no more: then it goes back by its instances. So
  # would that of instances that are gone.
  SITE_BEFORE=$K/site
  if grep -qsF "$V;" "$K/site"; then [ -n "$PORTS" ] || SITE_BEFORE=$K/none
  elif [ -n "$PORTS" ]; then is_plain_up || SITE_BEFORE=$K/none; fi
  if [ -e "$SITE_BEFORE" ] && ! cmp -s "$SITE_BEFORE" "$S"; then
    cp "$S" "$STAGE/site" 2>/dev/null; : >"$NGINX_DUE"
    put_back "$SITE_BEFORE" "$S" 644
    if ! nginx -t -q >"$STAGE/said" 2>&1 || ! taken_in >"$STAGE/said" 2>&1; then
      put "$STAGE/site" "$S" 644; take_in >/dev/null 2>&1; rm -f "$NGINX_DUE"
      refuse reload "what nginx" "said $(one_line <"$STAGE/said")"
    fi
    rm -f "$NGINX_DUE"
  elif [ -e "$NGINX_DUE" ]; then
    taken_in && rm -f "$NGINX_DUE"
  fi
  if [ -n "$PORTS" ] && ! in_force; then rm -f "$V" "$CUT_OFF"; fi
  exit 0
fi
for name in $WANTED; do
  [ -e "$STAGE/new/secret.$name" ] || [ -e "$C/$name" ] || [ ! -e "$CREDSTORE/$NAME.$name" ] || cp -p "$CREDSTORE/$NAME.$name" "$STAGE/new/secret.$name" || exit 1
done

# A unit's file: ours, or the one that ours would take the place of, as a package brings it.
unit_there() {
  [ ! -e "$U" ] || { echo "$U"; return; }
  for d in /run/systemd/system /usr/local/lib/systemd/system /usr/lib/systemd/system /lib/systemd/system; do
    [ ! -e "$d/${U##*/}" ] || [ "$TAKE" = replace ] || { echo "$d/${U##*/}"; return; }
  done
  echo "$U"
}
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
  THERE=$(unit_there)
  UNIT=$(standing "$STAGE/unit/$FILE" "$THERE"); tell unit "$UNIT" "$THERE"
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
    if in_force; then echo "upstream same $V"; else echo "upstream new $V"; fi
  fi
fi
has_database() { [ "$(as_postgres -d postgres -c "select 1 from pg_database where datname = '$DATABASE'" 2>/dev/null)" = 1 ]; }
has_role() { [ "$(as_postgres -d postgres -c "select 1 from pg_roles where rolname = '$ROLE'" 2>/dev/null)" = 1 ]; }
# What the unit is given, from the role's password.
give_password() {
  (umask 077; cp "$PASSWORD" "$STAGE/new/secret.postgres-password" &&
    printf '*:*:%s:%s:%s\n' "$DATABASE" "$ROLE" "$(cat "$PASSWORD")" >"$STAGE/new/secret.pgpass")
}
can_log_in() { PGPASSFILE=$STAGE/new/secret.pgpass psql -XAtqw -h 127.0.0.1 -U "$ROLE" -d "$DATABASE" -c 'select 1' >/dev/null 2>&1 </dev/null; }
if [ -n "$DATABASE" ]; then
  command -v psql >/dev/null 2>&1 || refuse no-postgres
  as_postgres -d postgres -c 'select 1' >/dev/null 2>"$STAGE/said" || refuse postgres "said $(one_line <"$STAGE/said")"
  [ -s "$PASSWORD" ] || [ ! -s "$CREDSTORE/$NAME.postgres-password" ] || PASSWORD=$CREDSTORE/$NAME.postgres-password
  POSTGRES=new
  if [ -s "$PASSWORD" ]; then
    give_password || exit 1
    ! has_database || ! can_log_in || POSTGRES=same
  elif has_role && [ "$TAKE" != replace ]; then
    refuse role "what $ROLE"
  fi
  echo "postgres $POSTGRES $DATABASE"
  WANTED="$WANTED postgres-password pgpass"
fi
for name in $WANTED; do
  if [ -e "$STAGE/new/secret.$name" ]; then
    if [ ! -e "$C/$name" ]; then echo "secret new $name"
    elif cmp -s "$STAGE/new/secret.$name" "$C/$name"; then echo "secret same $name"
    else echo "secret differs $name"; fi
  elif [ -n "$DATABASE" ] && { [ "$name" = postgres-password ] || [ "$name" = pgpass ]; }; then : # made with it
  elif [ -e "$C/$name" ]; then echo "secret same $name"
  else echo "secret absent $name"; fi
done
# Whether what runs was started before what it runs by was put there.
stale() {
  [ -n "$UNIT" ] && [ "$UNIT" != foreign ] && systemctl -q is-active "$ONE" || return 0
  STARTED=$(started) || return 0
  for file in "$U" "$C"/*; do
    [ ! -e "$file" ] || [ "$(stat -c %Y "$file")" -le "$STARTED" ] || { echo 'stale yes'; return; }
  done
}
is_enabled() { [ -n "$PORTS" ] || systemctl -q is-enabled "$ONE" >/dev/null 2>&1; } # of two instances nginx's own
is_told() { [ ! -e "$NGINX_DUE" ] && systemctl -q is-active nginx; }
# Credentials that are no longer wanted.
spare() {
  for file in "$C"/*; do
    case " $WANTED " in *" ${file##*/} "*) ;; *) [ ! -e "$file" ] || echo "$file" ;; esac
  done
}
has_instances() { [ -z "$PORTS" ] && ours "$UNITS/$NAME@.service"; } # that the app has no more
# What an install that was cut off has left to do, where the files look as they should.
due() {
  if [ "$UNIT" = same ]; then
    ! needs_reload || echo 'due reload'
    is_enabled || echo 'due enable'
    [ -z "$(spare)" ] || echo 'due credentials'
    ! has_instances || echo 'due instances'
  fi
  [ "$SITE" != same ] || is_told || echo 'due nginx'
}
if [ "$VERB" = look ]; then due; stale; exit 0; fi

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
  if [ -n "$PORTS" ] && ! in_force; then mkdir -p "$STAGE/nginx/airplanes" && cp "$STAGE/new/server" "$STAGE/nginx/airplanes/$NAME.server" || exit 1; fi
  find "$STAGE/nginx" -type f -exec sed -i "s|/etc/nginx/|$STAGE/nginx/|g" {} +
  nginx -t -q -c "$STAGE/nginx/nginx.conf" >"$STAGE/said" 2>&1 || refuse verify "what site" "said $(sed "s|$STAGE/nginx/|/etc/nginx/|g" "$STAGE/said" | one_line)"
}
# Where there is none: what its site said before it had two instances, so that nothing changes for anybody, or the one
# that runs, which nginx still knows if it lost the file; else the port whose instance is not the first to be started.
UPSTREAM=''
if [ -n "$PORTS" ] && ! in_force; then
  UPSTREAM=new WAS=''
  ! ours "$S" || WAS=$(sed -n 's/^[[:space:]]*server 127\.0\.0\.1:\([0-9]*\);$/\1/p' "$S" | sed -n 1p)
  WAS=${WAS:-$SERVING}
  server_file "${WAS:-${PORTS#* }}" "$STAGE/new/server" || exit 1
fi
if is_due "$HTTP" || is_due "$SITE"; then try_nginx "$STAGE/new/site"; fi

# --- put in place
make_user() {
  [ -n "$USER_WANTED" ] && ! id "$USER_WANTED" >/dev/null 2>&1 || return 0
  useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$USER_WANTED" >&2 || exit 1
}
make_database() {
  [ -n "$DATABASE" ] || return 0
  install -d -m 700 "$CREDSTORE" "$ROLES" || exit 1
  if [ "$POSTGRES" = new ]; then
    # Before the role: one without a password of ours is not ours.
    if ! [ -s "$PASSWORD" ]; then
      (umask 077; od -An -tx1 -N24 /dev/urandom | tr -d ' \n' >"$STAGE/password") || exit 1
      put "$STAGE/password" "$PASSWORD" 400 && give_password || exit 1
    fi
    has_role || as_postgres -d postgres -c "create role \"$ROLE\" login" || exit 1
    has_database || as_postgres -d postgres -c "create database \"$DATABASE\" owner \"$ROLE\"" || exit 1
    # On no command line, and in no log.
    { echo "set log_statement = 'none'; set log_min_duration_statement = -1; set log_min_error_statement = 'panic'; set track_activities = off;"
      printf "alter role \"%s\" login password '%s';\n" "$ROLE" "$(cat "$PASSWORD")"
    } | as_postgres -d postgres -f - || exit 1
    can_log_in || refuse postgres "said $ROLE can't log in to $DATABASE on 127.0.0.1 with its password: see pg_hba.conf"
    say "database $DATABASE of $ROLE"
  fi
  [ "$PASSWORD" = "$ROLES/$ROLE" ] || put "$PASSWORD" "$ROLES/$ROLE" 400 || exit 1
}
# What a migration needs beside the commit's files is made before it. Of what the app runs by nothing is touched: its unit is
# one that goes with the machine's next start, and it has credentials of its own.
if [ "$VERB" = migrate ]; then
  if [ "$OF" = "$JOB" ] && { [ -e "$D/began" ] || [ -e "$D/end" ] || is_migrating; }; then exit 0; fi
  make_user; make_database
  rm -rf "$D" "$RUNTIME/$M" "$RUNTIME/$M.d"
  install -d -m 700 "$MIGRATIONS" "$D" "$D/credentials" && install -d "$RUNTIME" "$RUNTIME/$M.d" || exit 1
  for name in $WANTED; do
    [ ! -e "$STAGE/new/secret.$name" ] || install -m 400 "$STAGE/new/secret.$name" "$D/credentials/$name" || exit 1
  done
  # What a person has put beside the app's unit counts here too; and who it is where systemd makes its user up.
  for file in "$UNITS/$FILE.d"/*.conf; do [ ! -e "$file" ] || cp "$file" "$RUNTIME/$M.d/" || exit 1; done
  AS=''
  [ -n "$USER_WANTED" ] || AS=$(systemctl show -p User --value "$ONE")
  { cat "$STAGE/new/once"; [ -z "$AS" ] || printf 'User=%s\n' "$AS"; } >"$STAGE/once"
  install -m 644 "$STAGE/new/run" "$RUNTIME/$M" && install -m 644 "$STAGE/once" "$RUNTIME/$M.d/zz-airplanes.conf" || exit 1
  systemctl daemon-reload >&2 || exit 1
  systemctl reset-failed "$M" >/dev/null 2>&1
  printf '%s\n' "$JOB" >"$D/job" && { sync -f "$D" 2>/dev/null || sync; }
  exit
fi
keep || exit 1
make_user
[ -z "$WANTED" ] || install -d -m 700 "$CREDSTORE" "$CREDSTORE/airplanes" "$C" || exit 1
make_database
for name in $WANTED; do
  [ -e "$STAGE/new/secret.$name" ] && ! cmp -s "$STAGE/new/secret.$name" "$C/$name" || continue
  put "$STAGE/new/secret.$name" "$C/$name" 400 || exit 1
  say "credential $name"
done
# What is no longer wanted is not kept.
if [ -n "$UNIT" ] && [ "$UNIT" != foreign ]; then
  spare | while IFS= read -r file; do rm -f "$file"; say "credential ${file##*/} is gone"; done
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
  ! needs_reload || systemctl daemon-reload
  is_enabled || systemctl -q enable "$ONE" >&2 || exit 1
fi
# Where they lay before, once no unit names that.
for name in $WANTED; do
  [ ! -e "$CREDSTORE/$NAME.$name" ] || grep -rqsF "$CREDSTORE/$NAME.$name" "$UNITS" "$K" || rm -f "$CREDSTORE/$NAME.$name"
done
if [ -n "$UPSTREAM" ]; then
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
  if is_due "$HTTP" || is_due "$SITE" || ! is_told; then sites "$STAGE/new/site"; fi
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
if [ -n "$UNIT" ] && [ "$UNIT" != foreign ] && has_instances; then
  systemctl -q disable "$NAME@.service" >/dev/null 2>&1
  systemctl stop "$NAME@*.service" >&2
  rm -f "$UNITS/$NAME@.service" "$V"; systemctl daemon-reload
  say "stopped the instances of $NAME"
fi
stale
exit 0
