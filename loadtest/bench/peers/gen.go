package peers

//go:generate go tool bpf2go -tags linux -target bpfel -no-strip=false pick pick.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -fdebug-compilation-dir=.
//go:generate go tool bpf2go -tags linux -target bpfel -type set -type value -no-strip=false floor peers.bpf.c -- -O2 -g -Wall -Werror -mcpu=v3 -I/usr/include/x86_64-linux-gnu -fdebug-compilation-dir=.
