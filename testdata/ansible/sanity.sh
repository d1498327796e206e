#!/bin/bash
# Runs those of ansible-test's sanity tests that need no network, and validate-modules, on a copy of the collection.
# The others make virtual environments, for which they fetch pip.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/ansible_collections/balena_community/migrate
mkdir -p "$root"
(cd "$here/../../ansible" && tar -c --exclude=collections --exclude=__pycache__ .) | tar -x -C "$root"
cd "$root"
git -c init.defaultBranch=main init -q . # ansible-test goes by what git lists
tests=(
	action-plugin-docs empty-init future-import-boilerplate ignores line-endings metaclass-boilerplate no-assert no-basestring
	no-get-exception no-illegal-filenames no-smart-quotes no-unicode-literals replace-urlopen shebang symlinks
	use-argspec-type-path use-compat-six
)
flags=()
for test in "${tests[@]}"; do flags+=(--test "$test"); done
python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ansible-test sanity --color no --python "$python" "${flags[@]}" >&2
ansible-test sanity --color no --python "$python" --test compile >&2
tools=$(/usr/bin/python3 -c 'import ansible_test, os; print(os.path.dirname(ansible_test.__file__))')/_util/controller/sanity/validate-modules
cd "$work"
modules=(ansible_collections/balena_community/migrate/plugins/modules/*.py)
# It ends with 3 when it has found something, which it does: Ansible wants modules under the GPL, ours are under Apache's licence.
findings=$(PYTHONPATH=$work:$tools /usr/bin/python3 "$tools/validate.py" --collection ansible_collections/balena_community/migrate \
	"${modules[@]}" 2>&1) || [ $? = 3 ] || { echo "$findings" >&2; exit 1; }
if grep -v missing-gplv3-license <<<"$findings" >&2; then exit 1; fi
looked=$(grep -c missing-gplv3-license <<<"$findings")
[ "$looked" = "${#modules[@]}" ] || { echo "sanity: validate-modules looked at $looked of ${#modules[@]} modules" >&2; exit 1; }
