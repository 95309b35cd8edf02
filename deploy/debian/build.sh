#!/usr/bin/env bash
# Builds a Debian package for the Python of this Debian, with all Python packages in it.
#
#   build.sh VENV DIRECTORY   VENV has the pip that installs; the package is put into DIRECTORY
set -euo pipefail
venv=$1 directory=$2
here=$(dirname "$0")
python=/usr/bin/python3
root=$(mktemp --directory)
source=$(mktemp --directory)
trap 'rm --recursive --force "$root" "$source"' EXIT
chmod 755 "$root"

# From a copy: the wheel takes whatever an earlier build has left in build/.
cp --recursive constraints.txt LICENSE README.md pyproject.toml \
    deploy ingest processor prosody query share stanzalake "$source"

echo "deb: installing Stanzalake and what it needs for $("$python" --version)"
"$python" -m venv --without-pip "$root/opt/stanzalake"
"$venv/bin/python" -m pip --quiet --disable-pip-version-check --python "$root/opt/stanzalake/bin/python" \
    install --no-compile --constraint constraints.txt "$source[import]"
# Nothing in the package names the directory that it was built in.
rm --force "$root"/opt/stanzalake/bin/[Aa]ctivate* "$root"/opt/stanzalake/lib/*/site-packages/stanzalake-*/direct_url.json
grep --recursive --files-with-matches --binary-files=without-match "$root" "$root/opt/stanzalake" |
    xargs --no-run-if-empty sed --in-place "s#$root##g"
"$python" -m compileall -q -s "$root" -p / "$root/opt/stanzalake/lib"

stanzalake() { "$root/opt/stanzalake/bin/python" -m stanzalake "$@"; }
mkdir --parents "$root"/{DEBIAN,usr/bin,usr/lib/systemd/system,usr/share/doc/stanzalake}
ln --symbolic /opt/stanzalake/bin/stanzalake "$root/usr/bin/stanzalake"
stanzalake prosody-modules --install "$root/usr/lib/prosody/modules" >/dev/null
stanzalake systemd-unit | sed "s#^ExecStart=[^ ]*#ExecStart=/usr/bin/stanzalake#" \
    >"$root/usr/lib/systemd/system/stanzalake.service"
cp --recursive share/. "$root/usr/share"
cp LICENSE "$root/usr/share/doc/stanzalake/copyright"

version=$(stanzalake --version | grep --only-matching '[0-9][^ ]*$')
architecture=$(dpkg --print-architecture)
minor=$("$python" -c 'import sys; print(sys.version_info.minor)')
sed --expression "s/@VERSION@/$version/" --expression "s/@ARCHITECTURE@/$architecture/" \
    --expression "s/@PYTHON@/3.$minor/" --expression "s/@NEXT_PYTHON@/3.$((minor + 1))/" \
    "$here/control" >"$root/DEBIAN/control"
echo "Installed-Size: $(du --summarize --block-size=1K "$root" | cut --fields=1)" >>"$root/DEBIAN/control"
install --mode=755 "$here"/{postinst,prerm,postrm} "$root/DEBIAN"

mkdir --parents "$directory"
echo "deb: packing"
dpkg-deb --root-owner-group -Zzstd -z3 --build "$root" "$directory/stanzalake_${version}_$architecture.deb"
