#!/bin/bash
# Three hosts on one machine, as network namespaces; for root, with iproute2 and nftables.
#
#   net.sh up                 c1 c2 c3 with 10.78.0.1 to .3, on a bridge in c0
#   net.sh part "1 2" 3       only hosts that are named together see each other
#   net.sh merge              all see each other again
#   net.sh loss 2             2 percent of all frames are lost; 0: none
#   net.sh down               removes everything
#
# The bridge has a namespace of its own, so that no firewall of this machine drops frames.
set -e
case "$1" in
up)
    ip netns add c0
    ip -n c0 link set lo up
    ip netns exec c0 sysctl -qw net.bridge.bridge-nf-call-iptables=0 2>/dev/null || true
    ip -n c0 link add cbr0 type bridge forward_delay 0 stp_state 0 mcast_snooping 0
    ip -n c0 link set cbr0 up
    ip -n c0 addr add 10.78.0.254/24 dev cbr0
    for i in 1 2 3; do
        ip netns add c$i
        ip -n c0 link add cv$i type veth peer name eth0 netns c$i
        ip -n c0 link set cv$i master cbr0 up
        ip -n c$i link set lo up
        ip -n c$i addr add 10.78.0.$i/24 dev eth0
        ip -n c$i link set eth0 up
    done
    ;;
part)
    shift
    rules=""
    for part in "$@"; do
        for a in $part; do
            for b in $part; do
                [ "$a" = "$b" ] || rules+="iifname cv$a oifname cv$b accept; "
            done
        done
    done
    ip netns exec c0 nft -f - <<EOF
table bridge part
delete table bridge part
table bridge part {
    chain f {
        type filter hook forward priority 0; policy drop
        $rules
    }
}
EOF
    ;;
merge)
    ip netns exec c0 nft delete table bridge part 2>/dev/null || true
    ;;
loss)
    ip netns exec c0 nft -f - <<EOF
table bridge loss
delete table bridge loss
table bridge loss {
    chain f {
        type filter hook forward priority -1; policy accept
        numgen random mod 100 < $2 drop
    }
}
EOF
    ;;
down)
    for i in 0 1 2 3; do ip netns del c$i 2>/dev/null || true; done
    ;;
*)
    sed -n '2,10s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
