# After fetch: the commit's files, in a folder of their own beside what runs. What a run before left is gone.
NEXT=$GIT/airplanes-next
rm -rf "$NEXT" "$NEXT.index"
mkdir "$NEXT" || exit 1
export GIT_INDEX_FILE="$NEXT.index"
g read-tree "$SHA" && g checkout-index -a -q --prefix="$NEXT/" || { rm -rf "$NEXT" "$NEXT.index"; exit 1; }
rm -f "$NEXT.index"
printf 'at %s\n' "$NEXT"
echo end
