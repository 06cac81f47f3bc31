#!/bin/sh
# The peer of (g): the longest chain of a plan, done by hand with kept clones, each repository as soon as the one before
# it is pushed. `waves` gives it its environment: NAMES in order, CLONES with a clone for each, and BUILD.
set -eu
sha=""
for name in $NAMES; do
  cd "$CLONES/$name"
  git fetch -q origin
  git reset -q --hard origin/main
  if [ -n "$sha" ]; then
    sed -i "/acme\/$before /s/:git\/sha \"[0-9a-f]*\"/:git\/sha \"$sha\"/" deps.edn
    git commit -q -a -m "$before to $sha"
  fi
  sh -c "$BUILD"
  if [ -n "$sha" ]; then
    git push -q origin HEAD:main
  fi
  sha="$(git rev-parse HEAD)"
  before="$name"
done
