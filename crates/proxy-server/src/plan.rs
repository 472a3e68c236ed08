//! What was said → what is meant: the only place that chooses defaults.

use core_render::{Framing, Output, Overlays, Quality, RenderSpec};
use dicomweb_types::MediaType;

use crate::config::{BasePath, Config};
use crate::params::RenderParams;
use crate::route::{Kind, Resource};

/// One picture, all of it decided.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Plan {
    pub(crate) resource: Resource,
    pub(crate) spec: RenderSpec,
}

impl Plan {
    pub(crate) fn new(
        resource: Resource,
        params: &RenderParams,
        media_type: MediaType,
        config: &Config,
    ) -> Self {
        let (framing, quality, overlays) = match resource.kind {
            Kind::Rendered => (Framing::Native, Quality::RENDERED, config.overlays),
            // Overlays may spell out who the patient is, which a thumbnail must not (R1.10).
            Kind::Thumbnail => {
                (Framing::FitWithin(config.thumbnail_size), Quality::THUMBNAIL, Overlays::Omit)
            }
        };
        let spec = RenderSpec {
            window: params.window,
            framing: params.viewport.map_or(framing, Framing::Viewport),
            output: match media_type {
                MediaType::Jpeg => Output::Jpeg(params.quality.unwrap_or(quality)),
                // R2.6: a quality is legal for PNG, where it has nothing to decide.
                MediaType::Png => Output::Png,
            },
            overlays,
        };
        Self { resource, spec }
    }

    /// The resource that the picture was rendered from (R1.7), as a path on this server.
    pub(crate) fn content_location(&self, base: &BasePath) -> String {
        let Resource { instance, frame, .. } = &self.resource;
        let base = base.as_str();
        match frame {
            None => format!("{base}/{instance}"),
            Some(frame) => format!("{base}/{instance}/frames/{frame}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use dicomweb_types::FrameNumber;

    use super::*;

    fn plan(kind: Kind, frame: Option<FrameNumber>, query: &str, media_type: MediaType) -> Plan {
        let instance = dicomweb_types::InstancePath {
            study: "1".parse().unwrap(),
            series: "2".parse().unwrap(),
            instance: "3".parse().unwrap(),
        };
        let params = RenderParams::parse(query, kind).unwrap();
        Plan::new(Resource { kind, instance, frame }, &params, media_type, &Config::default())
    }

    #[test]
    fn a_rendered_picture_is_the_image_as_it_is() {
        let plan = plan(Kind::Rendered, None, "", MediaType::Jpeg);
        assert_eq!(plan.spec.framing, Framing::Native);
        assert_eq!(plan.spec.output, Output::Jpeg("90".parse().unwrap()));
        assert_eq!((plan.spec.window, plan.spec.overlays), (None, Overlays::Draw));
    }

    #[test]
    fn a_thumbnail_is_small_and_without_overlays() {
        let plan = plan(Kind::Thumbnail, None, "", MediaType::Jpeg);
        assert_eq!(plan.spec.framing, Framing::FitWithin(256.try_into().unwrap()));
        assert_eq!(plan.spec.output, Output::Jpeg("80".parse().unwrap()));
        assert_eq!(plan.spec.overlays, Overlays::Omit);
    }

    #[test]
    fn what_was_said_replaces_the_defaults() {
        let query = "viewport=64,32&window=1,2,linear&quality=7";
        for kind in [Kind::Rendered, Kind::Thumbnail] {
            let plan = plan(kind, None, query, MediaType::Jpeg);
            assert_eq!(plan.spec.framing, Framing::Viewport("64,32".parse().unwrap()));
            assert_eq!(plan.spec.window, Some("1,2,linear".parse().unwrap()));
            assert_eq!(plan.spec.output, Output::Jpeg("7".parse().unwrap()));
        }
        assert_eq!(plan(Kind::Rendered, None, query, MediaType::Png).spec.output, Output::Png);
    }

    #[test]
    fn the_location_is_what_was_rendered_from() {
        let base = "/dicom-web".parse().unwrap();
        let location =
            |frame| plan(Kind::Thumbnail, frame, "", MediaType::Png).content_location(&base);
        assert_eq!(location(None), "/dicom-web/studies/1/series/2/instances/3");
        assert_eq!(
            location(FrameNumber::new(7)),
            "/dicom-web/studies/1/series/2/instances/3/frames/7"
        );
    }
}
