# A build that does what builds do. It ends at the first thing that it can't do.
set -eu
lib=$1
[ "$(git log --format=%s | wc -l)" -gt 1 ]
git status --porcelain
git -c user.name=b -c user.email=b@example.com commit -q --allow-empty -m "a build may commit in its clone"
# As tools.gitlibs does: a bare clone of a dependency by its own url, and a working tree beside it.
git clone -q --bare "$lib" "$HOME/.gitlibs/_repos/lib"
git --git-dir "$HOME/.gitlibs/_repos/lib" worktree add -q --detach "$HOME/.gitlibs/libs/lib" HEAD
[ -e "$HOME/.gitlibs/libs/lib/deps.edn" ]
git -c protocol.file.allow=always submodule --quiet add "$lib" module
mkdir -p "$HOME/.m2/repository" "$HOME/.cache/x" "$HOME/.clojure"
echo jar >"$HOME/.m2/repository/jar"
echo in >"$(mktemp)"
echo in >/tmp/by-name && mkdir /tmp/folder && mv /tmp/by-name /tmp/folder/ && rm -r /tmp/folder
mkdir -p target/classes && echo class >target/classes/a && mv target/classes/a target/b && ln target/b target/c
sh -c 'sh -c "echo nested >/dev/null; kill -0 $$"'
sleep 60 &
kill $!
wait $! || :
head -c4 /dev/urandom >/dev/null; echo x >/dev/null; ls /usr/bin >/dev/null; cat /etc/passwd /proc/self/status >/dev/null
echo "to stderr" >/dev/stderr
perl -MSocket -e 'socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC) or die; listen_at("s");
  sub listen_at { socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die; bind($s, pack_sockaddr_un($_[0])) or die "bind $!"; listen($s, 1) or die;
    socket(my $c, AF_UNIX, SOCK_STREAM, 0) or die; connect($c, pack_sockaddr_un($_[0])) or die "connect $!" }'
if command -v make >/dev/null; then printf 'all:\n\t@echo made\n' >Makefile && make -s; fi
if command -v java >/dev/null; then java -version; fi
echo "oom $(cat /proc/self/oom_score_adj) nice $(nice)"
echo "all of it worked"
