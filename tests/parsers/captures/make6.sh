#!/usr/bin/env bash
# Makes dhcpv6.pcap and quic.pcap anew, as root: two network namespaces, real programs between them, tcpdump at the
# server's end. Needs: tcpdump openssl dnsmasq-base isc-dhcp-client; python3 with aioquic (PYTHON names it), and a client of
# quic-go, whose hello takes two packets: QUIC_GO names a program that dials ARG1 with the server name ARG2. DNSMASQ and
# DHCLIENT name programs that are not installed. Addresses are documentation ones (RFC 3849, RFC 5737).
set -euo pipefail
out=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
cd "$work"
c=socmc$$ s=socms$$
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; ip netns del $c 2>/dev/null; ip netns del $s 2>/dev/null; rm -rf "$work"' EXIT
ip netns add $c; ip netns add $s
ip link add c0 netns $c type veth peer name s0 netns $s
ip -n $c link set lo up; ip -n $s link set lo up
ip -n $c link set c0 address 02:00:00:00:00:0a up; ip -n $s link set s0 address 02:00:00:00:00:01 up
ip -n $s addr add 2001:db8::1/64 dev s0 nodad; ip -n $s addr add 192.0.2.1/24 dev s0; ip -n $c addr add 192.0.2.10/24 dev c0
sleep 2
at() { ip netns exec "$@"; }
background() { "$@" >/dev/null 2>&1 & pids+=($!); }
background ip netns exec $s tcpdump -q -i s0 -U -w dhcpv6.pcap 'udp port 546 or udp port 547'
background ip netns exec $s tcpdump -q -i s0 -U -w quic.pcap 'udp port 443'
background ip netns exec $s "${DNSMASQ:-dnsmasq}" --no-daemon --no-resolv --no-hosts --port=0 --interface=s0 --bind-interfaces \
  --dhcp-range=2001:db8::100,2001:db8::1ff,64,1h --dhcp-option=option6:dns-server,[2001:db8::53] \
  --dhcp-option=option6:domain-search,haiphong.test --dhcp-leasefile="$work/leases" --user=root --pid-file="$work/dnsmasq.pid"
cat > dhclient.conf <<'X'
send fqdn.fqdn "may6.haiphong.test.";
send fqdn.server-update on;
send dhcp6.vendor-class 0:0:1:37:0:4:6d:61:79:36;
also request dhcp6.bootfile-url;
X
echo '#!/bin/sh' > none.sh; chmod +x none.sh
sleep 1
client=("${DHCLIENT:-dhclient}" -6 -cf "$work/dhclient.conf" -lf "$work/client.leases" -sf "$work/none.sh" -pf "$work/dhclient.pid" -D LL)
at $c timeout 30 "${client[@]}" -1 c0 2>/dev/null
at $c timeout 30 "${client[@]}" -r c0 2>/dev/null
at $c timeout 30 "${client[@]}" -S -1 c0 2>/dev/null; kill "$(cat dhclient.pid)" 2>/dev/null || true
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 -subj "/CN=www.haiphong.test" 2>/dev/null
cat > quic.py <<'P'
import asyncio, ssl, sys
from aioquic.asyncio import connect, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicProtocolVersion
async def main():
    made = QuicConfiguration(is_client=sys.argv[1] != "serve", alpn_protocols=["h3"], verify_mode=ssl.CERT_NONE)
    if sys.argv[1] == "serve":
        made.load_cert_chain("cert.pem", "key.pem")
        made.supported_versions = [QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2]
        await serve("192.0.2.1", 443, configuration=made, retry="retry" in sys.argv)
        await asyncio.Future()
    made.server_name = "www.haiphong.test"
    if sys.argv[1] == "v2":
        made.original_version = QuicProtocolVersion.VERSION_2
        made.supported_versions = [QuicProtocolVersion.VERSION_2]
    async with connect("192.0.2.1", 443, configuration=made) as talk:
        await talk.ping()
asyncio.run(main())
P
background ip netns exec $s "${PYTHON:-python3}" quic.py serve retry
retrying=$!
sleep 2
at $c timeout 10 "${PYTHON:-python3}" quic.py v1
kill $retrying; sleep 0.5
background ip netns exec $s "${PYTHON:-python3}" quic.py serve
sleep 2
at $c timeout 10 "${PYTHON:-python3}" quic.py v2
at $c timeout 10 "$QUIC_GO" 192.0.2.1:443 cdn.haiphong.test
sleep 2
kill "${pids[@]}" 2>/dev/null || true
sleep 0.5
mv dhcpv6.pcap quic.pcap "$out"
