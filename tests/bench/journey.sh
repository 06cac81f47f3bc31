#!/bin/sh
# The peer of (b): what a person with one app, one library and one host would run by hand or from a hook. It keeps its
# clone, checks nothing that it need not, and forgets all if it is interrupted. `journey` gives it its environment.
set -eu
cd "$CLONE"
git fetch -q origin
git reset -q --hard origin/main
sha="$(git ls-remote "$LIBRARY" refs/heads/main | cut -f 1)"
sed -i "s/:git\/sha \"[0-9a-f]*\"/:git\/sha \"$sha\"/" deps.edn
git commit -q -a -m "lib to $sha"
sh -c true # the build
git push -q origin HEAD:main
commit="$(git rev-parse HEAD)"
$SSH "cd '$FOLDER' && git fetch -q origin && git reset -q --hard $commit"
$SSH true # the restart
$SSH "curl -fsS -o /dev/null '$HEALTH'"
