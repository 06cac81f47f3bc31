# After fetch, whose arguments are followed by shas that we put there before. Checks everything, then writes the marker, then
# moves the tree: killed anywhere, a second run ends it.
# Whether a file is what an interrupted checkout of ours left: gone, or the beginning of what a commit has there; and
# in the index as a commit has it.
mine() {
  case $1 in \"*) return 1 ;; esac # git quotes such a name, so it can't be looked at
  if blob=$(g rev-parse -q --verify ":0:$1"); then
    known=no
    for c in "$M_SHA" ${HEAD:+"$HEAD"} ${M_FROM:+"$M_FROM"}; do
      [ "$blob" != "$(g rev-parse -q --verify "$c:$1")" ] || known=yes
    done
    [ "$known" = yes ] || return 1
  fi
  [ -e "$1" ] || [ -L "$1" ] || return 0
  for c in "$M_SHA" ${HEAD:+"$HEAD"} ${M_FROM:+"$M_FROM"}; do
    if [ -L "$1" ]; then
      [ "$(readlink "$1")" != "$(g cat-file blob "$c:$1" 2>/dev/null)" ] || return 0
    elif [ -f "$1" ]; then
      g cat-file --filters "$c:$1" 2>/dev/null | head -c "$(wc -c <"$1")" | cmp -s - "$1" && return 0
    fi
  done
  return 1
}
# SHA: the files that it adds to HEAD, or brings if there is none.
added() {
  if [ -n "$HEAD" ]; then g diff --name-only --no-renames --diff-filter=A "$HEAD" "$1"; else g ls-tree -r --name-only "$1"; fi
}
# Those of the names read that are files here.
present() { while IFS= read -r f; do { [ ! -f "$f" ] && [ ! -L "$f" ]; } || printf '%s\n' "$f"; done; }
# So that a person's `git pull` there works in a clone that we made.
upstream() { [ -n "$WAS" ] || g branch -q --set-upstream-to="origin/$BRANCH" >&2 || :; }
tracked() { [ -z "$HEAD" ] || changed; }

if [ "$M_STATE" = moving ] && have "$M_SHA" && { [ "$HEAD" = "$M_FROM" ] || [ "$HEAD" = "$M_SHA" ]; }; then
  LEFT=$({ tracked; added "$M_SHA" | present; } | sort -u)
  if [ -n "$LEFT" ] || [ "$HEAD" != "$M_SHA" ]; then
    OTHERS=$(printf '%s\n' "$LEFT" | while IFS= read -r f; do [ -z "$f" ] || mine "$f" || printf '%s\n' "$f"; done)
    [ -z "$OTHERS" ] || refuse changed "$(printf '%s\n' "$OTHERS" | prefixed file)"
    TO=$M_SHA
    if [ "$SHA" = "$M_FROM" ]; then
      # Wanted where it came from: what a full disk did not let end is undone, which needs no more room.
      TO=$SHA
      say "undoing the move to $M_SHA that was interrupted"
      [ "$HEAD" != "$SHA" ] || added "$M_SHA" | present | while IFS= read -r f; do rm -f "$f"; done
    else
      say "ending the move to $M_SHA that was interrupted"
    fi
    SAID=$(g reset -q --hard "$TO" 2>&1) || unwritten "$SAID"
    upstream
    HEAD=$TO MOVED=yes
  fi
fi

LEFT=$(tracked)
[ -z "$LEFT" ] || refuse changed "$(printf '%s\n' "$LEFT" | prefixed file)"
if [ -n "$HEAD" ] && [ "$HEAD" != "$SHA" ]; then
  OURS=no
  for s in "$M_SHA" "$@"; do [ "$s" != "$HEAD" ] || OURS=yes; done
  [ "$OURS" = yes ] || g merge-base --is-ancestor "$HEAD" "$SHA" ||
    refuse diverged "head $HEAD" "about $(g log -1 --format='%an, %ad: %s' --date=short "$HEAD")"
fi
if [ "$HEAD" != "$SHA" ]; then
  LEFT=$(added "$SHA" | present)
  [ -z "$LEFT" ] || refuse in-the-way "$(printf '%s\n' "$LEFT" | prefixed file)"
fi

if [ -n "$WAS" ]; then printf 'from %s\n' "$WAS"; fi
# What is started from here on reads what a power cut leaves.
settle() { sync -f . 2>/dev/null || sync; }
if [ "$HEAD" = "$SHA" ] && [ "$M_SHA" = "$SHA" ]; then
  [ "$M_STATE" = live ] || settle
  echo "moved $MOVED"; echo end; exit 0
fi
write_marker "{\"sha\":\"$SHA\",\"state\":\"moving\"${HEAD:+,\"from\":\"$HEAD\"}}"
if [ -z "$HEAD" ]; then
  say "checking out $SHA"
  SAID=$(g reset -q --hard "$SHA" 2>&1) || unwritten "$SAID"
  upstream
elif [ "$HEAD" != "$SHA" ]; then
  say "moving from $HEAD to $SHA"
  # A file that was only touched is no change of it, but git has to look to know.
  g update-index -q --refresh --ignore-submodules >/dev/null 2>&1 || :
  SAID=$(g reset -q --keep "$SHA" 2>&1) || unwritten "$SAID"
fi
[ "$(g rev-parse HEAD)" = "$SHA" ] || { say "HEAD is not $SHA afterwards"; exit 1; }
[ "$HEAD" = "$SHA" ] || MOVED=yes
settle
echo "moved $MOVED"
echo end
