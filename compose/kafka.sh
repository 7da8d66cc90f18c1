#!/usr/bin/env bash
# Runs a real Apache Kafka (KRaft, brokers and controllers combined) without
# containers, for tests.
#
#   kafka.sh fetch                      fetch the jars (Maven), once
#   kafka.sh start DIR [--listen HOST:PORT] [--brokers N]
#                                       start in the background; the last line of
#                                       standard output is the bootstrap address
#   kafka.sh stop DIR                   stop all brokers of DIR
#   kafka.sh kill DIR N                 kill -9 broker N (from 1)
#   kafka.sh restart DIR N              start broker N again
#
# Jars are kept in ${WEIR_KAFKA_JARS:-~/.cache/weir/kafka-4.3.0}; with them there
# it works without a network.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
jars=${WEIR_KAFKA_JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/weir/kafka-4.3.0}

die() {
	echo "kafka.sh: $*" >&2
	exit 1
}

fetch() {
	[ -e "$jars/.complete" ] && return
	command -v mvn >/dev/null || die "Maven is missing: apt-get install maven"
	mkdir -p "$jars"
	mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$jars" >&2 ||
		die "Maven could not fetch the jars"
	touch "$jars/.complete"
}

# java with the settings of a small broker.
jvm() {
	local archive=$jars/broker.jsa
	local cds=(-XX:SharedArchiveFile="$archive" -Xshare:auto)
	# The broker that runs first leaves an archive of its classes for the others.
	if [ "$1" = kafka.Kafka ] && [ ! -e "$archive" ] && mkdir "$jars/.archiving" 2>/dev/null; then
		cds=(-XX:ArchiveClassesAtExit="$archive")
	fi
	exec java -Xmx160m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "${cds[@]}" \
		-Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*" "$@"
}

free_port() {
	local port
	while :; do
		port=$((20000 + RANDOM % 12000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
	done
	echo "$port"
}

alive() { [ -e "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null && grep -qz kafka.Kafka "/proc/$(cat "$1")/cmdline"; }

configure() { # DIR N COUNT HOST PORT VOTERS
	local replication=$(($3 < 3 ? 1 : 3))
	cat >"$1/$2.properties" <<-EOF
		process.roles=broker,controller
		node.id=$2
		controller.quorum.voters=$6
		listeners=PLAINTEXT://$4:$5,CONTROLLER://127.0.0.1:$(sed "s/.*$2@127.0.0.1:\([0-9]*\).*/\1/" <<<"$6")
		advertised.listeners=PLAINTEXT://$4:$5
		controller.listener.names=CONTROLLER
		listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
		log.dirs=$1/data-$2
		auto.create.topics.enable=false
		offsets.topic.num.partitions=1
		offsets.topic.replication.factor=$replication
		transaction.state.log.num.partitions=1
		transaction.state.log.replication.factor=$replication
		transaction.state.log.min.isr=1
		share.coordinator.state.topic.num.partitions=1
		share.coordinator.state.topic.replication.factor=$replication
		group.initial.rebalance.delay.ms=0
		log.cleaner.dedupe.buffer.size=2097152
		broker.session.timeout.ms=3000
		broker.heartbeat.interval.ms=500
		replica.lag.time.max.ms=5000
		controller.quorum.fetch.timeout.ms=1000
		controller.quorum.election.timeout.ms=500
	EOF
}

launch() { # DIR N
	(
		trap - EXIT
		cd "$1"
		jvm kafka.Kafka "$1/$2.properties"
	) >>"$1/$2.log" 2>&1 </dev/null &
	echo $! >"$1/$2.pid"
	disown
}

start() {
	local dir=$1 host=127.0.0.1 port="" count=1 voters="" bootstrap="" n
	shift
	while [ $# -gt 0 ]; do
		case $1 in
		--listen)
			host=${2%:*}
			port=${2##*:}
			;;
		--brokers) count=$2 ;;
		*) die "unknown option $1" ;;
		esac
		shift 2
	done
	command -v java >/dev/null || die "Java is missing: apt-get install default-jre-headless"
	fetch
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	for n in $(seq "$count"); do voters+=${voters:+,}$n@127.0.0.1:$(free_port); done
	local id
	id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c1-22)
	for n in $(seq "$count"); do
		local p=${port:-$(free_port)}
		[ -n "$port" ] && p=$((port + n - 1))
		configure "$dir" "$n" "$count" "$host" "$p" "$voters"
		(jvm kafka.tools.StorageTool format --ignore-formatted -t "$id" -c "$dir/$n.properties") >>"$dir/$n.log" 2>&1 ||
			die "formatting broker $n: $(tail -3 "$dir/$n.log")"
		bootstrap+=${bootstrap:+,}$host:$p
	done
	for n in $(seq "$count"); do launch "$dir" "$n"; done
	for n in $(seq "$count"); do await "$dir" "$n"; done
	echo "$bootstrap"
}

await() { # DIR N
	local address
	address=$(sed -n 's|^advertised.listeners=PLAINTEXT://||p' "$1/$2.properties")
	for _ in $(seq 600); do
		(exec 3<>"/dev/tcp/${address%:*}/${address##*:}") 2>/dev/null && return
		alive "$1/$2.pid" || die "broker $2 ended: $(tail -5 "$1/$2.log")"
		sleep 0.1
	done
	die "broker $2 does not listen on $address after 60 s"
}

stop() {
	local pid
	for pid in "$1"/*.pid; do
		alive "$pid" && kill "$(cat "$pid")"
	done
	for pid in "$1"/*.pid; do
		[ -e "$pid" ] || continue
		for _ in $(seq 50); do alive "$pid" || break; sleep 0.1; done
		if alive "$pid"; then kill -9 "$(cat "$pid")"; fi
		rm -f "$pid"
	done
}

case ${1:-} in
fetch) fetch ;;
start) [ $# -ge 2 ] || die "start needs a directory"; shift; start "$@" ;;
stop) [ $# -eq 2 ] || die "stop needs a directory"; stop "$2" ;;
kill) [ $# -eq 3 ] || die "kill needs a directory and a broker"; alive "$2/$3.pid" && kill -9 "$(cat "$2/$3.pid")" ;;
restart) [ $# -eq 3 ] || die "restart needs a directory and a broker"; launch "$(cd "$2" && pwd)" "$3"; await "$2" "$3" ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
