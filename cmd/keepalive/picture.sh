#!/usr/bin/env bash
# Draws docs/keepalive.svg: what the command shows of real programs, on a terminal
# of 100 columns. It takes root, tmux, redis-server, nginx, curl and nft, and runs
# in network and process namespaces of its own.
set -euo pipefail
cd "$(dirname "$0")"

if [ "${1-}" != inside ]; then
	bin=$(mktemp -d)
	trap 'rm -rf "$bin"' EXIT
	CGO_ENABLED=0 go build -o "$bin" . ./internal/programs/picture ./testdata/goserver
	unshare --net --pid --fork --mount-proc --kill-child "./${0##*/}" inside "$bin"
	"$bin/picture" <"$bin/screen" >../../docs/keepalive.svg
	exit
fi

bin=$2
PATH=$bin:$PATH
cd "$bin"
ip link set lo up
await() { until eval "$1" >/dev/null 2>&1; do sleep 0.1; done; }

# A primary and its replica, of which the path will fall silent, and a subscriber.
redis-server --port 6379 --bind 127.0.0.1 127.0.0.2 --save '' >primary.log &
await 'redis-cli ping'
redis-server --port 6380 --bind 127.0.0.1 --save '' --replicaof 127.0.0.2 6379 >replica.log &
redis-cli subscribe news >subscriber.log &
# A server that leaves keepalive to the system, and one of Go.
printf 'daemon off; pid pid; error_log stderr; worker_processes 2; events {} http { access_log off; server { listen 127.0.0.1:8080; } }' >nginx.conf
nginx -p "$bin" -c nginx.conf 2>nginx.log &
goserver 127.0.0.1:7000 >goserver.log &
await 'keepalive ls --local :8080 --listen | grep nginx'
await 'keepalive ls --local :7000 --listen | grep goserver'
sleep 100 | curl -s telnet://127.0.0.1:8080 >curl.log &
sleep 100 | curl -s telnet://127.0.0.1:7000 >curl.log &
await 'grep "MASTER <-> REPLICA sync: Finished" replica.log'
nft 'add table inet silence; add chain inet silence in { type filter hook input priority 0; }; add rule inet silence in ip daddr 127.0.0.2 drop; add rule inet silence in ip saddr 127.0.0.2 drop'
await 'keepalive ls --suspect --json | grep redis'
sleep 3

tmux='tmux -L picture -f /dev/null'
$tmux new-session -d -x 100 -y 40 "env -i PATH=$PATH TERM=xterm-256color PS1='$ ' bash --norc --noprofile"
await '$tmux capture-pane -p | grep "^\$"'
enter() {
	$tmux send-keys "$1" Enter
	sleep 2
}
enter 'keepalive ls'
enter 'keepalive set --command nginx idle=1m,interval=5s,count=3'
enter 'keepalive ls --command nginx --hang never && echo "all fine"'
$tmux capture-pane -e -p >screen
$tmux kill-server
# Without what follows the last prompt.
sed -i -e ':a' -e '/^\n*$/{$d;N;ba' -e '}' screen
sed -i '$d' screen
