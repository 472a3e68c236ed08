//! What Orthanc says of its own changes is followed: with a real one.

use std::time::Duration;

use lightbox_tests::{Keeper, Orthanc, Place, ct, skip, slow_test};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_in_orthanc_itself_has_its_thumbnails_made() {
    const PART: &str = "Orthanc's changes";
    if !slow_test(PART) {
        return;
    }
    let mut orthanc = match Orthanc::start().await {
        Ok(orthanc) => orthanc,
        Err(why) => return skip(PART, &why),
    };
    let keys = [("orthanc_changes", "1s"), ("upstream_credentials", "none"), ("warm_up", "true")];
    let keeper = Keeper::new(&keys);
    let proxy = keeper.start(&orthanc.url()).await;
    // Once it knows where the list of changes ends.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let place = Place::new(7, 1, 1);
    assert!(orthanc.store(&ct(&place, 0)).await, "Orthanc takes it");
    let mut made = 0.0;
    for _ in 0..300 {
        made = proxy.metric("lightbox_warm_up_pictures_total").await;
        if made >= 2.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(made >= 2.0, "{made}; {}", proxy.log());
    let first = proxy.get(&format!("{}/thumbnail", place.path())).await;
    let status = first.header("cache-status");
    assert!(status.starts_with("lightbox; hit"), "{status}");
}
