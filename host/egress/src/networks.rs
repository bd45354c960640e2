//! Which addresses may be connected to: the public ones, and those of networks that the operator lists.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The most networks that are listed.
const MAX_NETWORKS: usize = 256;

/// IPv4 networks that are not public, by IANA's registry of special-purpose addresses.
const SPECIAL_V4: [Ipv4Net; 16] = [
    v4([0, 0, 0, 0], 8),        // this network, and the unspecified address
    v4([10, 0, 0, 0], 8),       // private
    v4([100, 64, 0, 0], 10),    // shared by carriers
    v4([127, 0, 0, 0], 8),      // loopback
    v4([169, 254, 0, 0], 16),   // link-local, with the metadata of clouds
    v4([172, 16, 0, 0], 12),    // private
    v4([192, 0, 0, 0], 24),     // protocol assignments
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 88, 99, 0], 24),   // relays of 6to4
    v4([192, 168, 0, 0], 16),   // private
    v4([198, 18, 0, 0], 15),    // benchmarks
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 4),      // multicast
    v4([240, 0, 0, 0], 4),      // reserved, and broadcast
    v4([168, 63, 129, 16], 32), // the metadata of Azure, which has a public address
];

/// The IPv6 addresses that IANA gives to networks of the public. All others are special: loopback, unspecified,
/// IPv4-compatible, unique local (`fc00::/7`), link-local (`fe80::/10`), multicast (`ff00::/8`), and so on.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// What is not public of these.
const SPECIAL_V6: [Ipv6Net; 3] = [
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), // protocol assignments: Teredo, benchmarks, ORCHID
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), // documentation
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), // documentation
];

/// IPv6 addresses that a router of 6to4 turns into the IPv4 address in them.
const SIX_TO_FOUR: Ipv6Net = v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16);

/// IPv6 addresses that a NAT64 turns into the IPv4 address in them.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96);

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length)
}

/// Networks that may be reached although they are not public.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

/// A text that is no list of networks. Says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetworks {
    /// An entry is no network.
    #[error("`{0}` is no network: write one such as 10.1.0.0/16 or fd00::/8, or a single address")]
    Network(String),
    /// An entry names an address in a network, and not the network.
    #[error("`{0}` is an address of the network {1}: write that")]
    NotANetwork(String, IpNet),
    /// There are too many.
    #[error("there are at most {MAX_NETWORKS} networks")]
    TooMany,
}

impl Networks {
    /// Whether there is none.
    #[must_use]
    pub fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this address may be connected to. One that stands for another (6to4, NAT64) may if both may.
    pub(crate) fn allow(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_allowed = |address: IpAddr| is_public(address) || self.list(address);
        is_allowed(address) && embedded(address).is_none_or(|it| is_allowed(it.into()))
    }

    /// Whether this address is in a network that is listed.
    pub(crate) fn list(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => {
            let is_global = GLOBAL_V6.contains(&address) || NAT64.contains(&address);
            is_global && !SPECIAL_V6.iter().any(|network| network.contains(&address))
        }
    }
}

/// The IPv4 address that packets to this one may end up at.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let [_, _, a, b, c, d, .., w, x, y, z] = address.octets();
    if SIX_TO_FOUR.contains(&address) {
        Some(Ipv4Addr::new(a, b, c, d))
    } else if NAT64.contains(&address) {
        Some(Ipv4Addr::new(w, x, y, z))
    } else {
        None
    }
}

/// A list with commas between. A single address is a network of its own.
impl FromStr for Networks {
    type Err = InvalidNetworks;

    fn from_str(text: &str) -> Result<Networks, InvalidNetworks> {
        let mut networks = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            if networks.len() == MAX_NETWORKS {
                return Err(InvalidNetworks::TooMany);
            }
            networks.push(network(entry)?);
        }
        Ok(Networks(networks))
    }
}

fn network(entry: &str) -> Result<IpNet, InvalidNetworks> {
    if let Ok(address) = entry.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet =
        entry.parse().map_err(|_| InvalidNetworks::Network(entry.chars().take(80).collect()))?;
    match network.trunc() == network {
        true => Ok(network),
        false => Err(InvalidNetworks::NotANetwork(entry.to_owned(), network.trunc())),
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, network) in self.0.iter().enumerate() {
            write!(f, "{}{network}", if place == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(listed: &str, address: &str) -> bool {
        let networks: Networks = listed.parse().expect("they are networks");
        networks.allow(address.parse().expect("it is an address"))
    }

    #[test]
    fn public_addresses_may_be_connected_to() {
        for address in [
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "2606:4700::1111",
            "2001:4860::8888",
            "2002:101:101::1",
            "64:ff9b::1.1.1.1",
        ] {
            assert!(allows("", address), "{address}");
        }
    }

    #[test]
    fn no_other_address_may() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::1.1.1.1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1.1.1.1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2002:a00:1::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!allows("", address), "{address}");
        }
    }

    #[test]
    fn addresses_of_listed_networks_may_and_no_others() {
        for (listed, address, expected) in [
            ("127.0.0.0/8", "127.0.0.1", true),
            ("127.0.0.0/8", "::ffff:127.0.0.1", true),
            ("127.0.0.0/8", "::1", false),
            ("127.0.0.0/8", "10.0.0.1", false),
            ("127.0.0.1,::1", "::1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("10.0.0.0/8", "2002:a00:1::1", true),
            ("10.0.0.0/8", "64:ff9b::10.0.0.1", true),
            ("fd00::/8", "fd12::1", true),
            ("2002::/16", "2002:a00:1::1", false),
        ] {
            assert_eq!(allows(listed, address), expected, "{listed} {address}");
        }
    }

    #[test]
    fn a_list_reads_back_and_what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/8", "127.0.0.1/32,::1/128,fd00::/8"] {
            assert_eq!(text.parse::<Networks>().expect("it reads").to_string(), text);
        }
        assert_eq!("::1".parse::<Networks>().expect("it reads").to_string(), "::1/128");
        let problem = |text: &str| text.parse::<Networks>().expect_err(text).to_string();
        for text in ["localhost", "10.0.0.0/33", "10.0.0/8", "010.0.0.1", "10.0.0.0/8/8"] {
            assert!(problem(text).contains("is no network"), "{text}");
        }
        assert!(problem("10.1.2.3/8").contains("network 10.0.0.0/8: write that"));
        assert_eq!(problem(&["::1"; 257].join(",")), "there are at most 256 networks");
    }
}
