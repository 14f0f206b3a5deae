#!/usr/bin/env bash
# Makes the captures of this folder anew, as root: two network namespaces, real programs between them, tcpdump and
# dumpcap at the server's end. Needs: tcpdump tshark dnsmasq-base bind9-dnsutils curl openssl iputils-arping iputils-ping
# busybox ethtool python3. Addresses are documentation ones (RFC 5737, RFC 3849); nothing leaves the namespaces.
# The expectations of parsers/wire/packet_*.yml and of the tests name ports and times of the captures that are here.
set -euo pipefail
out=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
cd "$work"
c=socmc$$ s=socms$$
trap 'ip netns del $c 2>/dev/null; ip netns del $s 2>/dev/null; rm -rf "$work"' EXIT
ip netns add $c; ip netns add $s
ip link add c0 netns $c type veth peer name s0 netns $s
ip -n $c link set lo up; ip -n $s link set lo up
ip -n $c link set c0 address 02:00:00:00:00:0a up; ip -n $s link set s0 address 02:00:00:00:00:01 up
ip -n $s addr add 192.0.2.1/24 dev s0; ip -n $s addr add 2001:db8::1/64 dev s0 nodad
ip -n $c addr add 192.0.2.10/24 dev c0; ip -n $c addr add 2001:db8::10/64 dev c0 nodad
ip netns exec $c ethtool -K c0 tso off gso off gro off; ip netns exec $s ethtool -K s0 tso off gso off gro off
at() { ip netns exec "$@"; }
pids=()
background() { "$@" >/dev/null 2>&1 & pids+=($!); }
background ip netns exec $s tcpdump -q -i s0 -U -w office.pcap
background ip netns exec $s tcpdump -q -i any -U -w cooked2.pcap 'udp port 53'
background ip netns exec $s tcpdump -q -i any -y LINUX_SLL -U -w cooked.pcap 'udp port 53'
background ip netns exec $s tcpdump -q -i s0 -s 96 -U -w snap.pcap 'tcp port 80 or tcp port 443'
background ip netns exec $s tcpdump -q -i s0 --nano -U -w nano.pcap 'arp or udp port 53'
background ip netns exec $s dumpcap -q -i s0 -f "udp port 53" -i lo -w multi.pcapng
sleep 1
printf '192.0.2.80 www.haiphong.test\n2001:db8::80 www.haiphong.test\n' > hosts
background ip netns exec $s dnsmasq --no-daemon --no-resolv --no-hosts --addn-hosts=hosts --interface=s0 --bind-interfaces \
  --dhcp-range=192.0.2.100,192.0.2.150,12h --dhcp-option=option:domain-name,haiphong.test \
  --dhcp-option=option:ntp-server,192.0.2.1 --txt-record=txt.haiphong.test,"v=spf1 -all","second part" \
  --mx-host=haiphong.test,mail.haiphong.test,10 --srv-host=_ldap._tcp.haiphong.test,ldap.haiphong.test,389 \
  --cname=cdn.haiphong.test,www.haiphong.test --caa-record=haiphong.test,0,issue,ca.test \
  --dhcp-leasefile="$work/leases" --user=root --pid-file="$work/dnsmasq.pid"
openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 30 \
  -subj "/C=VN/O=So TTTT Hai Phong/CN=www.haiphong.test" -addext "subjectAltName=DNS:www.haiphong.test,DNS:haiphong.test" 2>/dev/null
mkdir www; head -c 2400 /dev/urandom | base64 > www/index.html; echo small > www/a.txt
background ip netns exec $s python3 -m http.server 80 --bind 192.0.2.1 --directory www
background ip netns exec $s openssl s_server -quiet -accept 443 -cert cert.pem -key key.pem -www
background ip netns exec $s openssl s_server -quiet -accept 8443 -cert cert.pem -key key.pem -tls1_2 -www
cat > chunked.py <<'P'
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
        for part in (b"hello ", b"world" * 500): self.wfile.write(b"%x\r\n" % len(part) + part + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")
    def do_POST(self):
        length = self.headers.get("Content-Length")
        if length: self.rfile.read(int(length))
        else:
            while size := int(self.rfile.readline(), 16): self.rfile.read(size + 2)
            self.rfile.readline()
        self.send_response(303); self.send_header("Location", "/"); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("192.0.2.1", 8080), Handler).serve_forever()
P
background ip netns exec $s python3 chunked.py
sleep 1.5
for q in "www.haiphong.test A" "www.haiphong.test AAAA" "txt.haiphong.test TXT" "haiphong.test MX" "_ldap._tcp.haiphong.test SRV" \
  "cdn.haiphong.test A" "nothere.haiphong.test A" "haiphong.test CAA" "10.2.0.192.in-addr.arpa PTR"; do
  # shellcheck disable=SC2086
  at $c dig +tries=1 +time=2 @192.0.2.1 $q >/dev/null
done
at $c dig +tcp +tries=1 @192.0.2.1 www.haiphong.test A >/dev/null
at $c dig +tcp +keepopen +tries=1 @192.0.2.1 www.haiphong.test A txt.haiphong.test TXT >/dev/null
at $c dig +noedns +tries=1 @2001:db8::1 www.haiphong.test AAAA >/dev/null
at $c dig +subnet=198.51.100.0/24 +dnssec +tries=1 @192.0.2.1 www.haiphong.test >/dev/null
curl() { at $c curl -sk -o /dev/null "$@" || true; }
curl http://192.0.2.1/index.html http://192.0.2.1/a.txt 'http://192.0.2.1/missing?x=1&token=abc'
curl -u an:matkhau123 -A 'Mozilla/5.0 (soc test)' -e http://ref.test/ -H 'Host: www.haiphong.test' http://192.0.2.1/a.txt
curl -d 'user=an&pass=matkhau456' http://192.0.2.1:8080/login
curl -H 'Transfer-Encoding: chunked' -H 'Authorization: Bearer eyJsecret' -d @www/index.html http://192.0.2.1:8080/up
curl -I http://192.0.2.1/index.html
at $c python3 - <<'P'
import socket
s = socket.create_connection(("192.0.2.1", 8080))
s.sendall(b"".join(b"GET /%d HTTP/1.1\r\nHost: p\r\n%s\r\n" % (i, b"Connection: close\r\n" if i == 3 else b"") for i in (1, 2, 3)))
while s.recv(4096): pass
P
curl --resolve www.haiphong.test:443:192.0.2.1 https://www.haiphong.test/
curl --tls-max 1.2 --resolve www.haiphong.test:8443:192.0.2.1 https://www.haiphong.test:8443/
echo | at $c timeout 3 openssl s_client -connect 192.0.2.1:443 -alpn h2,http/1.1 -servername haiphong.test >/dev/null 2>&1 || true
echo | at $c timeout 3 openssl s_client -connect 192.0.2.1:8443 -noservername >/dev/null 2>&1 || true
curl --max-time 2 --cipher AES128-SHA https://192.0.2.1:8443/
at $c arping -c 2 -I c0 192.0.2.1 >/dev/null; at $c arping -U -c 1 -I c0 192.0.2.10 >/dev/null || true
at $c ping -c 2 -s 4000 192.0.2.1 >/dev/null; at $c ping -6 -c 2 -s 3000 2001:db8::1 >/dev/null; at $c ping -c 2 192.0.2.1 >/dev/null
at $c python3 - <<'P'
import contextlib, socket
with contextlib.suppress(OSError):
    socket.create_connection(("192.0.2.1", 81))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.sendto(b"x" * 5000, ("192.0.2.1", 9999)); u.sendto(b"y" * 10, ("192.0.2.1", 9998))
P
ip -n $c addr flush dev c0
printf '#!/bin/sh\nexit 0\n' > udhcpc.sh; chmod +x udhcpc.sh
at $c busybox udhcpc -i c0 -n -q -f -t 3 -s "$work/udhcpc.sh" -x hostname:may-tram-y-te -F may.haiphong.test -V soc-test >/dev/null 2>&1
ip -n $c link set c0 down; ip -n $c link set c0 address 02:00:00:00:00:0b up; ip -n $c addr add 192.0.2.10/24 dev c0
at $c arping -U -c 1 -I c0 192.0.2.10 >/dev/null || true
sleep 1
kill -INT "${pids[@]}"; sleep 1; kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true
chmod 644 ./*.pcap ./*.pcapng
cp ./*.pcap ./*.pcapng "${1:-$out}"
