# Who and when this is, and what it has. Changes nothing.
printf 'now %s\n' "$(date +%s)"
printf 'user %s\n' "$(id -un)"
VERSION=$(git --version 2>/dev/null) && printf 'version %s\n' "$VERSION"
echo end
