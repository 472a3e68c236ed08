//! What is trusted of an archive that speaks TLS, and what we show it.

use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};

use crate::error::ClientError;

/// TLS towards the archive.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Tls {
    /// PEM file of the certificates that sign the archive's, trusted instead of the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate, for archives that ask for one.
    pub identity: Option<TlsIdentity>,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsIdentity {
    /// The certificate, followed by those that sign it.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Tls {
    /// What is trusted.
    pub(crate) fn trust(&self, builder: ClientBuilder) -> Result<ClientBuilder, ClientError> {
        let Some(path) = &self.ca else { return Ok(builder) };
        let certificates = Certificate::from_pem_bundle(&read(path)?).unwrap_or_default();
        if certificates.is_empty() {
            return Err(ClientError::Pem { path: path.clone(), expected: "a certificate" });
        }
        Ok(builder.tls_certs_only(certificates))
    }

    /// Who we are.
    pub(crate) fn identify(&self, builder: ClientBuilder) -> Result<ClientBuilder, ClientError> {
        let Some(TlsIdentity { certificate, key }) = &self.identity else { return Ok(builder) };
        let mut pem = read(key)?;
        pem.push(b'\n');
        pem.extend(read(certificate)?);
        let identity = Identity::from_pem(&pem).map_err(|_| ClientError::Pem {
            path: certificate.clone(),
            expected: "a certificate whose key is in the key file",
        })?;
        Ok(builder.identity(identity))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|error| ClientError::File {
        path: path.to_owned(),
        reason: error.kind().to_string(),
    })
}
