//! Who asks, and by which name this server was reached, where proxies stand before it.
//!
//! A proxy says so in `Forwarded` (RFC 7239) or `X-Forwarded-…`. So may anybody: what stands there is taken
//! from `trusted_proxies` alone. From everybody else it is dropped, and said anew by us.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::config::Config;

/// The proxies whose word counts.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct TrustedProxies(Vec<Network>);

impl TrustedProxies {
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(address))
    }

    pub(crate) fn as_list(&self) -> Vec<String> {
        self.0.iter().map(Network::to_string).collect()
    }
}

impl FromStr for TrustedProxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let items = text.split([',', '\n']).map(str::trim).filter(|item| !item.is_empty());
        items.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

/// Addresses that begin with the same bits. IPv4 within IPv6 (`::ffff:a.b.c.d`) is IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Network {
    /// Its first address.
    address: IpAddr,
    bits: u32,
}

/// The bits that say that an address of IPv6 is one of IPv4.
const MAPPED: u32 = 96;

impl Network {
    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                first(ours.to_bits().into(), 32, self.bits)
                    == first(theirs.to_bits().into(), 32, self.bits)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                first(ours.to_bits(), 128, self.bits) == first(theirs.to_bits(), 128, self.bits)
            }
            _ => false,
        }
    }
}

/// The first `bits` of a number of `width`.
fn first(number: u128, width: u32, bits: u32) -> u128 {
    number.checked_shr(width - bits).unwrap_or(0)
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "must be addresses or networks, such as 10.0.0.5 or 10.0.0.0/8";
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| EXPECTED)?;
        let width = if written.is_ipv4() { 32 } else { 128 };
        let bits: u32 = match bits {
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().ok().filter(|&bits| bits <= width).ok_or(EXPECTED)?
            }
            Some(_) => return Err(EXPECTED.to_owned()),
            None => width,
        };
        let (address, bits) = match written.to_canonical() {
            IpAddr::V4(address) if written.is_ipv6() && bits >= MAPPED => {
                (IpAddr::V4(address), bits - MAPPED)
            }
            // A network of IPv6 that is larger than all of IPv4 within it.
            IpAddr::V4(_) if written.is_ipv6() => return Err(EXPECTED.to_owned()),
            address => (address, bits),
        };
        let beyond = match address {
            IpAddr::V4(address) => u128::from(address.to_bits()) << MAPPED,
            IpAddr::V6(address) => address.to_bits(),
        };
        // Somebody who writes 10.0.0.5/8 means one of two things.
        if beyond.checked_shl(bits).unwrap_or(0) != 0 {
            return Err(format!("{text}: bits of the address lie beyond the network's {bits}"));
        }
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        match self.bits == width {
            true => write!(f, "{}", self.address),
            false => write!(f, "{}/{}", self.address, self.bits),
        }
    }
}

/// The address of who asks: that of the peer, or, where this is a trusted proxy, the last address before
/// those of trusted proxies in what they say. What stands before that, the client may have written.
pub(crate) fn client_address(headers: &HeaderMap, peer: SocketAddr, config: &Config) -> IpAddr {
    let proxies = &config.trusted_proxies;
    let mut client = peer.ip().to_canonical();
    if !proxies.contain(client) {
        return client;
    }
    let chain = match headers.contains_key(X_FORWARDED_FOR) {
        true => addresses(headers),
        false => {
            elements(headers).iter().map(|element| element.node.as_deref().and_then(node)).collect()
        }
    };
    for address in chain.into_iter().rev() {
        // Who is not named has no address that could be told from that of the proxy before us.
        let Some(address) = address else { break };
        client = address;
        if !proxies.contain(address) {
            break;
        }
    }
    client
}

/// Says to the archive who asked, and by which name: behind what trusted proxies said, else alone.
pub(crate) fn tell(
    headers: &mut HeaderMap,
    peer: SocketAddr,
    host: Option<&HeaderValue>,
    proto: &'static str,
    proxies: &TrustedProxies,
) {
    if !proxies.contain(peer.ip()) {
        drop_said(headers);
    }
    let said = elements(headers).pop().unwrap_or_default();
    let address = peer.ip().to_canonical();
    let node = if address.is_ipv6() { format!("\"[{address}]\"") } else { address.to_string() };
    let is_plain = |host: &&str| !host.contains(['"', '\\', ';', ',', ' ']);
    // RFC 7239 wants a host with a port in quotes; Orthanc, which builds its URLs from this field, would
    // keep them in the URL.
    let element = match host.and_then(|host| host.to_str().ok()).filter(is_plain) {
        Some(host) => format!("for={node};host={host};proto={proto}"),
        None => format!("for={node};proto={proto}"),
    };
    append_to_list(headers, header::FORWARDED, &element);
    append_to_list(headers, X_FORWARDED_FOR, &address.to_string());
    // One value each: the proxy nearest to the client knows best.
    let value = |text: Option<String>| text.and_then(|text| HeaderValue::from_str(&text).ok());
    if let Some(host) = value(said.host).or_else(|| host.cloned()) {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    let proto = value(said.proto).unwrap_or(HeaderValue::from_static(proto));
    headers.entry(X_FORWARDED_PROTO).or_insert(proto);
}

/// The scheme and host by which clients reach this server, once [`tell`] has been there.
pub(crate) fn reached_by(headers: &HeaderMap) -> Option<String> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    Some(format!("{}://{}", text(X_FORWARDED_PROTO)?, text(X_FORWARDED_HOST)?))
}

/// Drops what only a proxy has to say.
fn drop_said(headers: &mut HeaderMap) {
    let is_said = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-forwarded-") || matches!(name, "forwarded" | "x-real-ip")
    };
    let said: Vec<HeaderName> = headers.keys().filter(|name| is_said(name)).cloned().collect();
    for name in said {
        headers.remove(name);
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

fn append_to_list(headers: &mut HeaderMap, name: HeaderName, item: &str) {
    let mut list: Vec<u8> = Vec::new();
    for value in headers.get_all(&name) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(item.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list) {
        headers.insert(name, value);
    }
}

/// The addresses of `X-Forwarded-For`; `None` for what is none.
fn addresses(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter();
    let items = lines.flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    items.map(|item| node(std::str::from_utf8(item).ok()?)).collect()
}

/// An address as proxies write it: with a port or without, IPv6 in brackets or not.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let address = text.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    Some(address.or_else(|| bare().map(IpAddr::V6))?.to_canonical())
}

/// What one proxy says in `Forwarded`.
#[derive(Default, Debug, PartialEq)]
struct Element {
    node: Option<String>,
    host: Option<String>,
    proto: Option<String>,
}

fn elements(headers: &HeaderMap) -> Vec<Element> {
    let mut elements = Vec::new();
    for value in headers.get_all(header::FORWARDED) {
        let text = value.to_str().unwrap_or_default();
        for element in split(text, ',') {
            let mut said = Element::default();
            for pair in split(element, ';') {
                let Some((name, value)) = pair.split_once('=') else { continue };
                let value = Some(unquoted(value.trim()));
                match name.trim().to_ascii_lowercase().as_str() {
                    "for" => said.node = value,
                    "host" => said.host = value,
                    "proto" => said.proto = value,
                    _ => {}
                }
            }
            elements.push(said);
        }
    }
    elements
}

/// Splits a text, but not within quotes.
fn split(text: &str, at: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c| {
        let is_escaped = std::mem::take(&mut escaped);
        match c {
            '"' if !is_escaped => quoted = !quoted,
            '\\' if quoted && !is_escaped => escaped = true,
            _ => {}
        }
        c == at && !quoted
    })
    .collect()
}

fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxies(text: &str) -> TrustedProxies {
        text.parse().unwrap()
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn told(said: &[(&'static str, &str)], peer: &str, trusted: &str) -> HeaderMap {
        let mut headers = headers(said);
        let host = HeaderValue::from_static("inner:8080");
        tell(&mut headers, peer.parse().unwrap(), Some(&host), "https", &proxies(trusted));
        headers
    }

    fn client(said: &[(&'static str, &str)], peer: &str, trusted: &str) -> String {
        let config = Config { trusted_proxies: proxies(trusted), ..Config::default() };
        client_address(&headers(said), peer.parse().unwrap(), &config).to_string()
    }

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.5", "10.0.0.5", "10.0.0.6"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.168.7.128/25", "192.168.7.255", "192.168.7.127"),
            ("0.0.0.0/0", "203.0.113.9", "2001:db8::1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
            ("::ffff:10.1.2.3", "10.1.2.3", "::10.1.2.3"),
            ("::1", "::1", "127.0.0.1"),
        ] {
            assert!(proxies(network).contain(inside.parse().unwrap()), "{inside} in {network}");
            assert!(!proxies(network).contain(outside.parse().unwrap()), "{outside} in {network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "proxy",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.5/8",
            "::1/129",
            "2001:db8::1/32",
            "::ffff:10.0.0.0/40",
            "10.0.0",
            "10.0.0.1:80",
            "10.0.0.0/8/8",
        ] {
            assert!(text.parse::<TrustedProxies>().is_err(), "{text}");
        }
        assert_eq!("".parse(), Ok(TrustedProxies::default()));
        let list = proxies("10.0.0.0/8, ::1\n127.0.0.1").as_list();
        assert_eq!(list, ["10.0.0.0/8", "::1", "127.0.0.1"]);
    }

    #[test]
    fn from_anybody_what_proxies_say_is_dropped_and_said_anew() {
        let said = [
            ("forwarded", "for=1.2.3.4;host=evil;proto=http"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-prefix", "/evil"),
            ("x-real-ip", "1.2.3.4"),
            ("accept", "a/b"),
        ];
        let expected = headers(&[
            ("accept", "a/b"),
            ("forwarded", "for=192.0.2.7;host=inner:8080;proto=https"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-host", "inner:8080"),
            ("x-forwarded-proto", "https"),
        ]);
        assert_eq!(told(&said, "192.0.2.7:1", ""), expected);
        assert_eq!(told(&said, "192.0.2.7:1", "192.0.2.8"), expected);
        assert_eq!(told(&said, "[::ffff:192.0.2.7]:1", "10.0.0.0/8"), expected);
    }

    #[test]
    fn from_a_trusted_proxy_it_is_kept_and_extended() {
        let said = [
            ("forwarded", "for=198.51.100.1;host=viewer.example;proto=http"),
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-host", "viewer.example"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-prefix", "/pacs"),
        ];
        for peer in ["192.0.2.7:1", "[::ffff:192.0.2.7]:1"] {
            let fields = told(&said, peer, "192.0.2.0/24");
            assert_eq!(
                fields["forwarded"],
                "for=198.51.100.1;host=viewer.example;proto=http, for=192.0.2.7;host=inner:8080;proto=https"
            );
            assert_eq!(fields["x-forwarded-for"], "198.51.100.1, 192.0.2.7");
            assert_eq!(fields["x-forwarded-host"], "viewer.example");
            assert_eq!(fields["x-forwarded-proto"], "http");
            assert_eq!(fields["x-forwarded-prefix"], "/pacs");
            assert_eq!(reached_by(&fields).as_deref(), Some("http://viewer.example"));
        }
    }

    #[test]
    fn a_proxy_that_says_forwarded_alone_is_understood() {
        let said =
            [("forwarded", "for=1.1.1.1;host=a, For=\"[2001:db8::9]:44\";Host=\"b:1\";proto=http")];
        let fields = told(&said, "192.0.2.7:1", "192.0.2.7");
        assert_eq!(fields["x-forwarded-host"], "b:1");
        assert_eq!(fields["x-forwarded-proto"], "http");
        assert_eq!(client(&said, "192.0.2.7:1", "192.0.2.7"), "2001:db8::9");
        assert_eq!(
            client(&[("forwarded", "for=\"a,b;c\", for=_x")], "192.0.2.7:1", "192.0.2.7"),
            "192.0.2.7"
        );
    }

    #[test]
    fn the_client_is_the_last_before_the_trusted() {
        let trusted = "192.0.2.7, 10.0.0.0/8";
        for (chain, expected) in [
            ("203.0.113.9", "203.0.113.9"),
            // What the client itself has written stands first.
            ("127.0.0.1, 203.0.113.9", "203.0.113.9"),
            ("127.0.0.1, 203.0.113.9, 10.0.0.1", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("[2001:db8::1]:4711, 10.0.0.2", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            // All of them are ours.
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            // Nobody can be told.
            ("203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"),
            ("unknown", "192.0.2.7"),
            ("", "192.0.2.7"),
            (",,", "192.0.2.7"),
        ] {
            let said = [("x-forwarded-for", chain)];
            assert_eq!(client(&said, "192.0.2.7:1", trusted), expected, "{chain}");
            assert_eq!(client(&said, "[::ffff:192.0.2.7]:1", trusted), expected, "{chain}");
            assert_eq!(
                client(&said, "192.0.2.9:1", trusted),
                "192.0.2.9",
                "no trusted peer: {chain}"
            );
        }
        let two = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.9, 10.0.0.1")];
        assert_eq!(client(&two, "192.0.2.7:1", trusted), "203.0.113.9");
        assert_eq!(client(&[], "192.0.2.7:1", trusted), "192.0.2.7");
    }

    proptest! {
        #[test]
        fn whatever_is_said_an_untrusted_peer_is_who_asks(said in "[ -~]{0,60}") {
            let value = [("x-forwarded-for", said.as_str()), ("forwarded", said.as_str())];
            prop_assert_eq!(client(&value, "192.0.2.9:1", "10.0.0.0/8"), "192.0.2.9");
            let fields = told(&value, "192.0.2.9:1", "10.0.0.0/8");
            prop_assert_eq!(&fields["x-forwarded-for"], "192.0.2.9");
            // From a trusted one it may be anything, and is read without harm.
            client(&value, "10.0.0.1:1", "10.0.0.0/8");
            told(&value, "10.0.0.1:1", "10.0.0.0/8");
        }

        #[test]
        fn networks_are_written_as_they_are_read(bits in 0_u32..=32, address in any::<u32>()) {
            let masked = if bits == 0 { 0 } else { address >> (32 - bits) << (32 - bits) };
            let network = Network { address: IpAddr::V4(masked.into()), bits };
            prop_assert_eq!(network.to_string().parse(), Ok(network));
            prop_assert!(network.contains(IpAddr::V4(address.into())));
        }
    }
}
