# A build that means ill. Each line of `breaches` is something it should not have been able to do.
# $1 the daemon's own folder, $2 the daemon's pid, $3 another app's job, $4 a pid of its build
dir=$1 daemon=$2 job=$1/state/work pid=$4
job=$job/$3
try() { if "$@" >/dev/null 2>&1; then echo "BREACH $*"; else echo "kept $*"; fi; }
overwrite() { echo broken >"$1"; }

# What it may not read.
for file in state/operator-token config.edn deploy.edn known_hosts secret git-sshd/client_key state/address; do
  try head -c1 "$dir/$file"
done
for folder in . state state/store state/work state/logs state/mirrors state/builds ../run; do try ls "$dir/$folder"; done
for file in "$dir"/state/store/db "$job/clone/private" "$job/gitconfig" \
  "$dir/state/logs/$job/build.1" /dev/shm/other; do
  try head -c1 "$file"
done
try git -C "$job/clone" log -1
try git --git-dir "$(echo "$dir"/state/mirrors/*victim*)" log -1
try ls "$job/tmp"

# By other ways.
ln -s "$dir/state/operator-token" link
try head -c1 link
try ln "$dir/state/operator-token" hard
try mv "$job/clone/private" mine
try cp "$dir/config.edn" copy
try head -c1 "/proc/$daemon/root$dir/config.edn"
try head -c1 "/proc/self/root$dir/config.edn"
try head -c1 "/proc/$daemon/environ"
try head -c1 "/proc/$pid/environ"
try head -c1 "/proc/$pid/cwd/private"
try readlink "/proc/$daemon/fd/1"
try perl -e 'open(my $m, "<", "/proc/$ARGV[0]/mem") or exit 1; open(my $a, "<", "/proc/$ARGV[0]/maps") or exit 1;
  my ($at) = <$a> =~ /^([0-9a-f]+)/ or exit 1; seek($m, hex $at, 0); sysread($m, my $x, 1) or exit 1' "$pid"
try nsenter -t "$pid" -m head -c1 "$dir/config.edn"
try unshare -m umount /tmp
try unshare -m mount --bind / /mnt
try sh -c 'exec 3</dev/mem'
try sh -c "exec 3<$(findmnt -no SOURCE / || echo /dev/vda)"

# What it may not touch.
try kill -0 "$daemon"
try kill -0 "$pid"
try overwrite "$job/clone/private"
try overwrite "$dir/state/mine"
try overwrite "$dir/mine"
try overwrite "$dir/../open/mine"
try overwrite "$HOME/../mine"
try overwrite /proc/self/oom_score_adj
try overwrite "/etc/airplanes-was-here"
try rm -f "$dir/deploy.edn"
try ln -s / "$dir/link"
try mknod disk b 1 0

# The daemon's connections to the hosts: their sockets can be named, and must not be reached.
grep -o '/[^ ]*airplanes-[^ ]*' /proc/net/unix | sort -u >sockets
grep -q "${dir%own}run" sockets && echo "the sockets are known"
grep "${dir%own}run" sockets | while read -r socket; do
  try perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => $ARGV[0]) or exit 1' "$(echo "$socket" | sed 's/\.[A-Za-z0-9]\{16\}$//')"
done
exit 0
