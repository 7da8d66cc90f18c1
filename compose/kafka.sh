#!/usr/bin/env bash
# A real Apache Kafka (KRaft, combined mode) on this machine's Java, without
# containers: for tests, and for trying Weir against the real thing.
#
#   kafka.sh start DIR [--listen HOST[:PORT]] [--brokers N] [--set KEY=VALUE]...
#       starts the brokers that DIR describes and that do not run, in the
#       background, and prints the bootstrap addresses as the last line of
#       stdout when all are ready. A first start lays DIR out; a later one keeps
#       its data, its ports and its settings, so that start after kill is a
#       restart. With --brokers 3, PORT is the first of three; without a PORT
#       free ones are taken.
#   kafka.sh stop DIR       ends all brokers of DIR, cleanly where they let it
#   kafka.sh kill DIR N     kills broker N (from 1) as a crash would
#   kafka.sh restart DIR N  starts broker N alone again
#   kafka.sh fetch          only fills the cache, for work without a network
#
# Jars come from Maven Central once, into ${XDG_CACHE_HOME:-~/.cache}/weir.
# KAFKA_HEAP_OPTS (default -Xmx96m) is the memory of one broker.
set -euo pipefail
umask 022

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/weir/kafka-4.3.0
cluster_id=d2Vpci1rYWZrYS10ZXN0cw # 16 bytes in base64url, as Kafka wants it
ready_within=120                  # seconds; a cold start takes 10, on a machine that does much else over 60

die() { echo "kafka.sh: $*" >&2; exit 1; }

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"; }

# --- the cache -----------------------------------------------------------------

# java_options prints what every broker's Java gets, one option a line: a small
# heap and no optimising compiler to warm, which is what lets a broker start in
# some 1.5 s.
java_options() {
  local heap
  read -ra heap <<<"${KAFKA_HEAP_OPTS:--Xmx96m}"
  printf '%s\n' "${heap[@]}" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -Djava.awt.headless=true -Dorg.slf4j.simpleLogger.showDateTime=true \
    '-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS'
}

# archive prints the path of the class archive for this Java: another version
# would refuse it and start slowly.
archive() {
  echo "$cache/classes-$(sha256sum "$(readlink -f "$(command -v java)")" "$(dirname "$(readlink -f "$(command -v java)")")/../release" 2>/dev/null |
    sha256sum | head -c 12).jsa"
}

# fetch fills the cache, one process at a time: jars, the feature levels that
# Kafka's own format tool writes, and a class archive.
fetch() {
  command -v java >/dev/null || die "needs Java 17 or newer (Debian: apt-get install default-jre-headless)"
  mkdir -p "$(dirname "$cache")"
  exec 9>"$cache.lock"
  flock 9
  if [ ! -e "$cache/complete" ]; then
    command -v mvn >/dev/null || die "needs Maven to fetch Kafka once (Debian: apt-get install maven)"
    rm -rf "$cache"
    mkdir -p "$cache"
    echo "fetching Apache Kafka 4.3.0 into $cache" >&2
    mvn -B -q -f "$here/pom.xml" dependency:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$cache/jars" >&2 </dev/null || die "Maven could not fetch Kafka"
    format_once
    touch "$cache/complete"
  fi
  [ -s "$(archive)" ] || archive_classes
  exec 9>&-
}

# format_once keeps what formatting a data directory yields, so that a start
# need not run a second Java for it.
format_once() {
  local tmp
  tmp=$(mktemp -d)
  properties "$tmp" 1 127.0.0.1 19092 "1@127.0.0.1:19093" 1 >"$tmp/server.properties"
  java -cp "$cache/jars/*" kafka.tools.StorageTool format -t "$cluster_id" \
    -c "$tmp/server.properties" >"$tmp/log" 2>&1 || { cat "$tmp/log" >&2; die "formatting failed"; }
  cp "$tmp/data/bootstrap.checkpoint" "$cache/"
  rm -rf "$tmp"
}

# archive_classes runs one broker to its end and lets Java write the classes
# that it used. Failing costs only speed.
archive_classes() {
  local tmp jsa
  tmp=$(mktemp -d)
  jsa=$(archive)
  lay_out "$tmp" 127.0.0.1 "" 1
  launch "$tmp" 1 "-XX:ArchiveClassesAtExit=$jsa.new"
  await "$tmp" 1 || true
  stop "$tmp"
  mv -f "$jsa.new" "$jsa" 2>/dev/null || true
  rm -rf "$tmp"
}

# --- a data directory ----------------------------------------------------------

# free_port prints a port that nobody listens on, below the range from which
# the kernel takes the ports of outgoing connections.
free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
  done
}

# properties DIR NODE HOST PORT VOTERS BROKERS
properties() {
  local dir=$1 node=$2 host=$3 port=$4 voters=$5 brokers=$6 controller
  controller=$(tr , '\n' <<<"$voters" | sed -n "s/^$node@.*://p")
  cat <<CONF
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://$host:$port,CONTROLLER://127.0.0.1:$controller
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
default.replication.factor=$brokers
min.insync.replicas=$((brokers > 1 ? brokers - 1 : 1))
offsets.topic.num.partitions=1
offsets.topic.replication.factor=$brokers
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=$brokers
transaction.state.log.min.isr=$((brokers > 1 ? brokers - 1 : 1))
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=$brokers
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=2097152
num.network.threads=2
num.io.threads=2
# A broker that dies stalls its partitions 9-13 s with Kafka's defaults, 4-6 s
# with these.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
replica.lag.time.max.ms=5000
controller.quorum.fetch.timeout.ms=1000
controller.quorum.election.timeout.ms=500
CONF
}

# lay_out DIR HOST PORT BROKERS [KEY=VALUE]… writes each broker's settings and
# formats its data directory.
lay_out() {
  local dir=$1 host=$2 port=$3 brokers=$4 voters="" n p
  shift 4
  for ((n = 1; n <= brokers; n++)); do
    voters+="${voters:+,}$n@127.0.0.1:$(free_port)"
  done
  for ((n = 1; n <= brokers; n++)); do
    mkdir -p "$dir/$n/data"
    if [ -n "$port" ]; then p=$((port + n - 1)); else p=$(free_port); fi
    properties "$dir/$n" "$n" "$host" "$p" "$voters" "$brokers" >"$dir/$n/server.properties"
    [ $# -eq 0 ] || printf '%s\n' "$@" >>"$dir/$n/server.properties"
    printf 'version=1\ncluster.id=%s\nnode.id=%s\ndirectory.id=%s\n' "$cluster_id" "$n" \
      "$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=')" >"$dir/$n/data/meta.properties"
    cp "$cache/bootstrap.checkpoint" "$dir/$n/data/"
  done
}

# nodes prints the numbers of the brokers that DIR describes.
nodes() {
  local f
  for f in "$1"/*/server.properties; do
    [ ! -e "$f" ] || basename "$(dirname "$f")"
  done
}

# running DIR N tells whether the process in the pid file is this very broker:
# numbers of processes are used again.
running() {
  local pid
  pid=$(cat "$1/$2/pid" 2>/dev/null) || return 1
  [ -r "/proc/$pid/cmdline" ] || return 1
  tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -xF -- "-Dweir.kafka=$1/$2" >/dev/null
}

# launch DIR N [OPTION]… starts a broker without waiting for it.
launch() {
  local dir=$1 n=$2 options
  shift 2
  mapfile -t options < <(java_options)
  [ ! -e "$dir/$n/log" ] || mv "$dir/$n/log" "$dir/$n/log.old"
  # 9 is the lock on the cache: a broker must not inherit it. exec keeps the
  # number of the process.
  (exec setsid java "${options[@]}" "$@" "-Dweir.kafka=$dir/$n" -cp "$cache/jars/*" \
    kafka.Kafka "$dir/$n/server.properties" >"$dir/$n/log" 2>&1 </dev/null 9>&-) &
  echo $! >"$dir/$n/pid"
}

# await DIR N waits until the broker serves.
await() {
  local deadline=$((SECONDS + ready_within)) log=$1/$2/log pid
  pid=$(cat "$1/$2/pid")
  until grep -q 'Kafka Server started' "$log" 2>/dev/null; do
    if [ ! -e "/proc/$pid" ] || [ "$SECONDS" -ge "$deadline" ]; then
      tail -n 30 "$log" >&2
      echo "kafka.sh: broker $2 is not ready; its log ends as above" >&2
      return 1
    fi
    sleep 0.05
  done
}

# address DIR N prints where clients reach a broker.
address() {
  sed -n 's#^listeners=PLAINTEXT://\([^,]*\),.*#\1#p' "$1/$2/server.properties"
}

# --- the commands --------------------------------------------------------------

# start_nodes DIR N… starts the brokers that do not run and waits for all.
start_nodes() {
  local dir=$1 jsa options=() n
  shift
  jsa=$(archive)
  [ ! -s "$jsa" ] || options=("-XX:SharedArchiveFile=$jsa")
  for n in "$@"; do
    running "$dir" "$n" || launch "$dir" "$n" "${options[@]}"
  done
  for n in "$@"; do
    await "$dir" "$n" || { stop "$dir"; exit 1; }
  done
}

start() {
  local dir=${1:-} host=127.0.0.1 port="" brokers=1 settings=() numbers n
  [ -n "$dir" ] || die "start needs a directory"
  shift
  while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || die "$1 needs a value"
    case $1 in
      --listen)
        host=${2%:*}
        [[ $2 != *:* ]] || port=${2##*:}
        ;;
      --brokers) brokers=$2 ;;
      --set) settings+=("$2") ;;
      *) die "unknown option $1" ;;
    esac
    shift 2
  done
  [[ $brokers =~ ^[1-9]$ ]] || die "--brokers wants a number from 1 to 9"
  [[ $port =~ ^[0-9]*$ ]] || die "--listen wants HOST or HOST:PORT"
  fetch
  mkdir -p "$dir"
  dir=$(cd "$dir" && pwd)
  [ -n "$(nodes "$dir")" ] || lay_out "$dir" "$host" "$port" "$brokers" "${settings[@]}"
  mapfile -t numbers < <(nodes "$dir")
  start_nodes "$dir" "${numbers[@]}"
  for n in "${numbers[@]}"; do address "$dir" "$n"; done | paste -sd, -
}

stop() {
  local dir=${1:-} n deadline
  [ -d "$dir" ] || return 0
  dir=$(cd "$dir" && pwd)
  for n in $(nodes "$dir"); do
    ! running "$dir" "$n" || kill -TERM "$(cat "$dir/$n/pid")" 2>/dev/null || true
  done
  deadline=$((SECONDS + 10))
  for n in $(nodes "$dir"); do
    while running "$dir" "$n"; do
      # A controller that has lost its quorum does not end by itself.
      [ "$SECONDS" -lt "$deadline" ] || kill -KILL "$(cat "$dir/$n/pid")" 2>/dev/null || true
      sleep 0.05
    done
    rm -f "$dir/$n/pid"
  done
}

# one DIR N prints DIR made absolute, or says that there is no such broker.
one() {
  [ -e "${1:-}/${2:-}/server.properties" ] || die "no broker ${2:-} in ${1:-}"
  (cd "$1" && pwd)
}

kill_one() {
  local dir
  dir=$(one "$@")
  running "$dir" "$2" || die "broker $2 of $dir does not run"
  kill -KILL "$(cat "$dir/$2/pid")"
  while running "$dir" "$2"; do sleep 0.02; done
  rm -f "$dir/$2/pid"
}

restart_one() {
  local dir
  dir=$(one "$@")
  start_nodes "$dir" "$2"
  address "$dir" "$2"
}

case ${1:-} in
  start | stop | fetch) "$@" ;;
  kill | restart)
    verb=$1
    shift
    "${verb}_one" "$@"
    ;;
  -h | --help | help) usage ;;
  *)
    usage >&2
    exit 2
    ;;
esac
