# shellcheck shell=sh
# Who the user's commits are by. Run as the user. $1: user.name, $2: user.email; empty: as it is.

if ! command -v git >/dev/null 2>&1; then
    exit 0
fi

settle() {
    if [ -n "$2" ] && [ "$(git config --global --get "$1")" != "$2" ]; then
        git config --global --replace-all -- "$1" "$2" || exit
    fi
}

settle user.name "$1"
settle user.email "$2"
