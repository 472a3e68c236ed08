//! `lightbox doctor`: what an archive accepts, and whether thumbnails of it can work.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use dicomweb_types::Uid;
use http::{HeaderMap, header};
use proxy_server::{ServeError, UpstreamSetupError, doctor};
use wadors_client::{Caller, Client};

use super::{Failure, Outcome};

#[derive(Args)]
pub(crate) struct Doctor {
    /// The archive's DICOMweb base URL, such as http://127.0.0.1:8042/dicom-web
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Configuration file (TOML) with the archive's URL and credentials
    #[arg(long, value_name = "FILE", env = "LIGHTBOX_CONFIG")]
    config: Option<PathBuf>,
    /// Which of several archives, by the name it has in the file
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The Authorization header of a caller, such as "Bearer …"
    #[arg(
        long,
        value_name = "VALUE",
        env = "LIGHTBOX_DOCTOR_AUTHORIZATION",
        hide_env_values = true
    )]
    authorization: Option<String>,
    /// Try objects of this study [default: the first that are found]
    #[arg(long, value_name = "UID")]
    study: Option<Uid>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Doctor) -> Outcome {
    let flags: Vec<_> = args.upstream.clone().map(|url| ("upstream", url)).into_iter().collect();
    let config = super::load(args.config.as_deref(), &flags)?;
    let wanted = args.name.as_deref();
    let archive = config.archives().find(|archive| wanted.is_none_or(|name| archive.name == name));
    let Some((archive, url)) = archive.and_then(|archive| Some((archive, archive.url.as_ref()?)))
    else {
        return Err(match wanted {
            Some(name) => Failure::Usage(format!("--name: there is no archive {name:?}")),
            None => ServeError::NoUpstream.into(),
        });
    };
    let client = archive.client(url).map_err(UpstreamSetupError::Secret)?;
    let client = Client::new(client).map_err(UpstreamSetupError::from)?;
    let caller = caller(args.authorization.as_deref())?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::Work(format!("no runtime: {error}")))?;
    let seen = runtime.block_on(doctor::examine(&client, &caller, args.study.as_ref()));
    if args.json {
        let json = serde_json::to_string_pretty(&seen);
        println!("{}", json.map_err(|error| Failure::Work(error.to_string()))?);
    } else {
        print!("{}", doctor::report(&seen, std::io::stdout().is_terminal()));
    }
    match seen.thumbnails {
        Some(false) => Err(Failure::Work("thumbnails of this archive do not work".to_owned())),
        Some(true) | None => Ok(()),
    }
}

fn caller(authorization: Option<&str>) -> Result<Caller, Failure> {
    let mut headers = HeaderMap::new();
    if let Some(value) = authorization {
        let value = value.parse().map_err(|_| {
            Failure::Usage("--authorization: must be the value of a header".to_owned())
        })?;
        headers.insert(header::AUTHORIZATION, value);
    }
    Ok(Caller::from_headers(&headers))
}

impl From<UpstreamSetupError> for Failure {
    fn from(error: UpstreamSetupError) -> Self {
        Self::Usage(format!("upstream: {error}"))
    }
}
