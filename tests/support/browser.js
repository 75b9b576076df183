document.getElementById("page").addEventListener("load", (event) => {
  const view = event.target.contentDocument, window = event.target.contentWindow;
  const all = (selector) => [...view.querySelectorAll(selector)];
  const shown = (each) => each.getClientRects().length > 0;
  all("details").forEach((each) => each.open = true);

  const cut = all("table, th, td, svg, img, figure, input").filter((each) => {
    const box = each.getBoundingClientRect();
    return box.width && (box.left < 0 || box.right > window.innerWidth + 0.5
      || each.scrollWidth > box.width + 1);
  });

  const rgb = (text) => (text.match(/[\d.]+/g) || []).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const share = part / 255;
      return share <= 0.03928 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (each) => {
    for (let place = each; place; place = place.parentElement) {
      const colour = rgb(window.getComputedStyle(place).backgroundColor);
      if (colour.length === 3 || colour[3] > 0) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  const contrast = (each) => {
    const style = window.getComputedStyle(each);
    const ink = rgb(each.namespaceURI.endsWith("svg") ? style.fill : style.color).slice(0, 3);
    const [light, dark] = [luminance(ink), luminance(behind(each))].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const own = (each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const pale = all("body *").filter((each) => own(each) && shown(each) && contrast(each) < 4.5);

  const letters = all("svg text").map((each) => {
    const svg = each.ownerSVGElement;
    const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    return scale * parseFloat(window.getComputedStyle(each).fontSize);
  });
  const named = (each) => each.getAttribute("alt") || each.getAttribute("aria-label");

  const frames = {};
  const slider = view.querySelector("input[type=range]");
  if (slider) {
    const gallery = slider.closest(".gallery");
    for (let place = +slider.min; place <= +slider.max; place += 1) {
      slider.value = place;
      slider.dispatchEvent(new window.Event("input"));
      const images = [...gallery.querySelectorAll("img")].filter(shown);
      frames[gallery.querySelector("output").textContent] = images.map(named);
    }
  }

  document.getElementById("found").textContent = JSON.stringify({
    width: view.documentElement.scrollWidth,
    tables: all("table").length,
    cut: cut.map((each) => each.textContent.trim() || each.outerHTML.slice(0, 80)),
    seen: view.body.innerText,
    unnamed: all("img, svg").filter((each) => !named(each)).map((each) => each.outerHTML.slice(0, 80)),
    pale: pale.map((each) => `${each.textContent.trim()} (${contrast(each).toFixed(1)})`),
    smallest: letters.length ? Math.min(...letters) : 0,
    background: window.getComputedStyle(view.body).backgroundColor,
    frames,
  });
});
