#!/usr/bin/env bash
# Fetches the newest kernel of a Debian release and unpacks what a virtual machine
# needs of it, without installing anything:
#
#	fetch.sh RELEASE META-PACKAGE DIRECTORY MODULE...
#
# DIRECTORY then holds vmlinuz and the modules that are not built in. apt works on
# lists of its own in DIRECTORY/apt, with the mirror that the machine is configured
# with; the machine's sources stay as they are. Without the network, what was fetched
# before is used.
set -eu
release=$1 meta=$2 dir=$3
shift 3
mkdir -p "$dir"
cd "$dir"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e $keyring ] || { echo "missing: package debian-archive-keyring"; exit 1; }
# shellcheck disable=SC2016 # the format is for apt to expand
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' | grep -m1 '/debian/$' || true)}
[ -n "$mirror" ] || { echo "apt knows no Debian mirror: name one in DEBIAN_MIRROR"; exit 1; }
mirror=${mirror%/}

mkdir -p apt/etc/apt/preferences.d apt/var/lib/apt/lists/partial apt/var/cache/apt/archives/partial apt/var/lib/dpkg
: >apt/var/lib/dpkg/status
cat >apt/etc/apt/sources.list <<-END
	deb [arch=amd64 signed-by=$keyring] $mirror $release main
	deb [arch=amd64 signed-by=$keyring] ${mirror%debian}debian-security $release-security main
END
options=(-o Dir="$PWD/apt" -o Dir::State::status="$PWD/apt/var/lib/dpkg/status" -o APT::Architecture=amd64
	-o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
	-o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false -o Acquire::Retries=3)
# Once a day is enough.
if [ -z "$(find apt/updated -mtime -1 2>/dev/null)" ]; then
	if apt-get "${options[@]}" -qq update; then touch apt/updated; fi
fi
package=$(apt-cache "${options[@]}" depends "$meta" | sed -n 's/^ *Depends: //p' | head -1)
if [ -z "$package" ]; then
	[ -e unpacked-for ] && exit 0
	echo "no package $meta in $release"
	exit 1
fi
wanted="${package#linux-image-} $*"
[ "$(cat unpacked-for 2>/dev/null)" != "$wanted" ] || exit 0

rm -rf unpacked ./*.deb
apt-get "${options[@]}" -qq download "$package"
rm -rf vmlinuz unpacked-for modules
dpkg-deb -x ./"$package"_*.deb unpacked
mv unpacked/boot/vmlinuz-* vmlinuz
mkdir modules
for name in "$@"; do
	find unpacked -name "$name.ko*" -exec mv {} modules/ \;
done
rm -rf unpacked ./*.deb
# Written last: an interrupted fetch begins anew.
echo "$wanted" >unpacked-for
