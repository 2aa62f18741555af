# shellcheck shell=sh
# Clones the repository into the workspace folder. Run as the user. What to do stands in
# BERTH_CLONE_* and BERTH_GIT_*.
#
# The clone is made in a hidden folder beside its place, on the same volume:
#
#   .berth-clone-XXXXXX   being cloned; worth nothing after a kill, the next run removes it
#   .berth-clone-done     complete, its entries being moved up one by one, .git last
#
# Each step from one to the next is a rename. So a run that finds .berth-clone-done goes on with
# moving, and the folder is a checkout exactly when .git is in it and everything else is too.

exec 2>&1 </dev/null

directory=$BERTH_CLONE_DIRECTORY
url=$BERTH_CLONE_URL
finished=$directory/.berth-clone-done
staging=
private=

# Exit codes that say what went wrong by themselves.
git_missing=81
not_empty=82
ssh_missing=83
not_writable=84

fail() {
    code=$1
    shift
    printf 'berth: %s\n' "$*"
    exit "$code"
}

clean_up() {
    if [ -n "$private" ]; then
        rm -rf "$private"
    fi
    if [ -n "$staging" ]; then
        rm -rf "$staging"
    fi
}

# HOST/PATH of a repository's address: the same however it is reached and whoever reaches it.
place_of() {
    case $1 in
    *://*)
        rest=${1#*://}
        host=${rest%%/*}
        path=${rest#"$host"}
        ;;
    *)
        host=${1%%:*}
        path=${1#*:}
        ;;
    esac
    host=${host##*@}
    path=${path#/}
    path=${path%/}
    path=${path%.git}
    printf '%s/%s' "$(printf '%s' "$host" | tr '[:upper:]' '[:lower:]')" "$path"
}

origin_of() {
    place_of "$(git config --file "$1/.git/config" --get remote.origin.url 2>/dev/null)"
}

is_wanted_repository() {
    [ "$(origin_of "$1")" = "$(place_of "$url")" ]
}

exists() {
    [ -e "$1" ] || [ -L "$1" ]
}

# Names of what is in the folder and not of our making, the first few.
occupants() {
    found=
    for entry in "$directory"/* "$directory"/.[!.]* "$directory"/..?*; do
        case ${entry##*/} in
        lost+found | .berth-clone-done | .berth-clone-??????) continue ;;
        esac
        if ! exists "$entry"; then
            continue
        fi
        if [ "${#found}" -gt 100 ]; then
            found="$found, ..."
            break
        fi
        found="${found:+$found, }${entry##*/}"
    done
    printf '%s' "$found"
}

report() {
    printf '\nberth:branch=%s\n' "$(git -c safe.directory="$directory" -C "$directory" symbolic-ref -q --short HEAD)"
    printf 'berth:head=%s\n' "$(git -c safe.directory="$directory" -C "$directory" rev-parse -q --verify 'HEAD^{commit}')"
}

move_up() {
    for entry in "$finished"/* "$finished"/.[!.]* "$finished"/..?*; do
        if [ "${entry##*/}" = .git ] || ! exists "$entry"; then
            continue
        fi
        if exists "$directory/${entry##*/}"; then
            fail $not_empty "$directory is not empty: ${entry##*/} is in the way of the repository's"
        fi
        mv "$entry" "$directory/" || exit
    done
    mv "$finished/.git" "$directory/" || exit
    rmdir "$finished"
}

# Renamed before it is removed: half of it must never pass for a finished clone.
discard_finished() {
    staging=$(mktemp -d "$directory/.berth-clone-XXXXXX") || exit
    mv "$finished" "$staging/" || exit
    rm -rf "$staging"
    staging=
}

remove_leftovers() {
    for entry in "$directory"/.berth-clone-??????; do
        if [ -d "$entry" ] && ! [ -L "$entry" ]; then
            rm -rf "$entry"
        fi
    done
}

# A folder of the user's alone, in memory where there is such a place.
make_private_folder() {
    # What a run that was killed left; the other places may be shared with somebody.
    rm -rf /run/berth/user/.berth-git.??????
    for base in /run/berth/user /run/berth /dev/shm "${TMPDIR:-/tmp}"; do
        if [ -d "$base" ] && [ -w "$base" ]; then
            private=$(umask 077 && mktemp -d "$base/.berth-git.XXXXXX") && return
        fi
    done
    fail $not_writable "there is no folder for temporary files"
}

prepare_ssh() {
    case $BERTH_GIT_PROTOCOL in
    ssh) ;;
    *)
        # Submodules may still be reached by SSH, with what the image has for it.
        export GIT_SSH_COMMAND='ssh -o BatchMode=yes -o ConnectTimeout=20 -o StrictHostKeyChecking=accept-new'
        return
        ;;
    esac
    if ! command -v ssh >/dev/null 2>&1; then
        fail $ssh_missing "ssh is not installed in the image"
    fi
    ssh="ssh -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=20 -o ServerAliveCountMax=3"
    if [ -n "${BERTH_GIT_SSH_KEY:-}" ]; then
        (umask 077 && printf '%s\n' "$BERTH_GIT_SSH_KEY" >"$private/key") || exit
        ssh="$ssh -i '$private/key' -o IdentitiesOnly=yes"
    fi
    if [ -n "${BERTH_GIT_KNOWN_HOSTS:-}" ]; then
        printf '%s\n' "$BERTH_GIT_KNOWN_HOSTS" >"$private/known_hosts" || exit
        ssh="$ssh -o UserKnownHostsFile='$private/known_hosts' -o GlobalKnownHostsFile=/dev/null"
        ssh="$ssh -o StrictHostKeyChecking=yes"
    else
        if [ -n "${HOME:-}" ] && ! [ -d "$HOME/.ssh" ]; then
            mkdir -m 700 "$HOME/.ssh"
        fi
        ssh="$ssh -o StrictHostKeyChecking=accept-new"
    fi
    export GIT_SSH_COMMAND="$ssh"
}

# Run by git to ask for credentials. It answers for the repository's own server alone: a redirect
# or a submodule elsewhere gets nothing.
# shellcheck disable=SC2016 # expanded by the shell that git starts
credential_helper='!answer() {
    [ "$1" = get ] || return 0
    protocol= host= username=
    while IFS="=" read -r key value; do
        case $key in
        protocol) protocol=$value ;;
        host) host=$value ;;
        username) username=$value ;;
        esac
    done
    [ "$protocol" = "$BERTH_GIT_PROTOCOL" ] && [ "$host" = "$BERTH_GIT_HOST" ] || return 0
    [ -n "$username" ] || printf "username=%s\n" "$BERTH_GIT_USERNAME"
    printf "password=%s\n" "$BERTH_GIT_TOKEN"
}; answer'

# On the command line of git, not in the configuration of the clone: nothing of this stays.
guarded_git() {
    if [ -n "${BERTH_GIT_TOKEN:-}" ]; then
        set -- -c credential.helper= -c credential.helper="$credential_helper" "$@"
    fi
    git -c core.hooksPath=/dev/null -c http.followRedirects=initial \
        -c http.lowSpeedLimit=1000 -c http.lowSpeedTime=60 "$@"
}

# $@: further options of git clone.
clone() {
    staging=$(mktemp -d "$directory/.berth-clone-XXXXXX") || exit
    if [ -n "${BERTH_CLONE_DEPTH:-}" ]; then
        set -- --depth "$BERTH_CLONE_DEPTH" --single-branch "$@"
    fi
    if [ "${BERTH_CLONE_SUBMODULES:-}" = yes ]; then
        set -- --recurse-submodules "$@"
        if [ -n "${BERTH_CLONE_DEPTH:-}" ]; then
            set -- --shallow-submodules "$@"
        fi
    fi
    rm -f "$private/code"
    {
        guarded_git clone --progress --origin origin "$@" -- "$url" "$staging" 2>&1
        echo "$?" >"$private/code"
    } | tee "$private/log"
    read -r code <"$private/code" || code=137
    return "$code"
}

has_commits() {
    git -C "$staging" rev-parse -q --verify 'HEAD^{commit}' >/dev/null
}

# The wanted branch, which the repository does not have.
create_branch() {
    if has_commits; then
        printf '\nThe repository has no branch %s: it is made here, from %s\n' \
            "$1" "$(git -C "$staging" symbolic-ref -q --short HEAD)"
        guarded_git -C "$staging" checkout -q --no-track -b "$1"
    else
        printf '\nThe repository is empty: its first commit will be on branch %s\n' "$1"
        git -C "$staging" symbolic-ref HEAD "refs/heads/$1"
    fi
}

clone_wanted_branch() {
    branch=${BERTH_CLONE_BRANCH:-}
    if [ -z "$branch" ]; then
        clone || exit
        return
    fi
    if clone --branch "$branch"; then
        return
    fi
    if [ "$code" = 137 ] || ! grep -q '^fatal: Remote branch .* not found in upstream' "$private/log"; then
        exit "$code"
    fi
    rm -rf "$staging"
    clone || exit
    create_branch "$branch" || exit
}

umask 022
if [ -r /etc/profile.d/berth.sh ]; then
    # shellcheck disable=SC1091 # in the guest
    . /etc/profile.d/berth.sh
fi
# What an environment can do to a clone that is not its own.
unset IFS GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES \
    GIT_COMMON_DIR GIT_NAMESPACE GIT_TEMPLATE_DIR GIT_EXEC_PATH GIT_TRACE GIT_TRACE_CURL GIT_CURL_VERBOSE \
    GIT_SSH GIT_SSH_COMMAND SSH_ASKPASS
set +e +u
export LC_ALL=C LANGUAGE=C GIT_TERMINAL_PROMPT=0 GIT_SSH_VARIANT=ssh
# Empty, not unset: with it unset git would look for other programs to ask.
export GIT_ASKPASS=''
# Also for submodules, and stronger than any configuration: no file:, no ext::, no git:.
export GIT_ALLOW_PROTOCOL=http:https:ssh

trap clean_up EXIT
trap 'exit 143' HUP INT TERM

if ! command -v git >/dev/null 2>&1; then
    fail $git_missing "git is not installed in the image"
fi
if ! [ -d "$directory" ] || ! [ -w "$directory" ]; then
    fail $not_writable "$directory is not a folder that the user can write to"
fi

if exists "$directory/.git"; then
    rmdir "$finished" 2>/dev/null
    if ! is_wanted_repository "$directory"; then
        fail $not_empty "$directory is not empty: it holds a checkout of another repository, $(origin_of "$directory")"
    fi
    echo "Already cloned"
    report
    exit 0
fi
in_the_way=$(occupants)
if [ -d "$finished" ] && is_wanted_repository "$finished"; then
    move_up
    report
    exit 0
fi
if [ -n "$in_the_way" ]; then
    fail $not_empty "$directory is not empty: $in_the_way"
fi
if [ -d "$finished" ]; then
    discard_finished
fi
remove_leftovers

make_private_folder
prepare_ssh
unset BERTH_GIT_SSH_KEY BERTH_GIT_KNOWN_HOSTS
clone_wanted_branch
mv "$staging" "$finished" || exit
staging=
move_up
report
